"""Charts packed and painted into one atlas; the table under the object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from sample_scene.paint import mix, noise, ramp
from sample_scene.prints import blueprint, sheet
from sample_scene.surfaces import Array, Part, lathe, rounded, triangulate

ATLAS = 1024
GUTTER = 4
TABLE_RADIUS = 0.42


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """One triangle mesh with split seams, and its maps (uint8, row 0 on top)."""

    vertices: Array
    normals: Array
    uvs: Array
    faces: NDArray[np.int64]
    base_color_srgb: NDArray[np.uint8]
    orm: NDArray[np.uint8]


def pack(parts: Sequence[Part]) -> dict[str, tuple[int, int, int, int]]:
    """Lay the charts (x, y, width, height in texels, gutters excluded) out at the largest scale that fits."""
    for scale in np.geomspace(9000.0, 500.0, 600):
        sizes = {part.name: tuple(math.ceil(length * scale) for length in part.size()) for part in parts}
        boxes = fill_shelves(sizes)
        if all(x + w + GUTTER <= ATLAS and y + h + GUTTER <= ATLAS for x, y, w, h in boxes.values()):
            return boxes
    raise ValueError("the charts do not fit the atlas")


def fill_shelves(sizes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int, int, int]]:
    """Stand boxes, tallest first, on the first shelf with room, else on a new one below."""
    shelves: list[list[int]] = []  # x of the free room, y, height
    boxes = {}
    for name, (w, h) in sorted(sizes.items(), key=lambda item: -item[1][1]):
        shelf = next((shelf for shelf in shelves if shelf[0] + w + 2 * GUTTER <= ATLAS), None)
        if shelf is None:
            shelf = [0, sum(other[2] for other in shelves), h + 2 * GUTTER]
            shelves.append(shelf)
        boxes[name] = (shelf[0] + GUTTER, shelf[1] + GUTTER, w, h)
        shelf[0] += w + 2 * GUTTER
    return boxes


def build_model(parts: Sequence[Part]) -> Model:
    """Triangulate the parts, pack and paint their charts."""
    boxes = pack(parts)
    atlas = np.zeros((ATLAS, ATLAS, 5))
    columns: list[list[Array]] = [[], [], [], []]
    count = 0
    for part in parts:
        x, y, w, h = boxes[part.name]
        rows = part.arc() / part.arc()[-1]
        st = np.stack(np.meshgrid(np.linspace(0, 1, w), np.linspace(0, 1, h)), axis=-1)
        row = np.interp(st[..., 1], rows, np.arange(len(rows)))
        where = np.stack([row, st[..., 0] * (part.grid.shape[1] - 1)])
        points = np.stack([map_coordinates(part.grid[..., k], where, order=1) for k in range(3)], axis=-1)
        chart = part.paint(part, points, st)
        padded = np.pad(chart, ((GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="edge")
        atlas[y - GUTTER : y + h + GUTTER, x - GUTTER : x + w + GUTTER] = padded
        mesh = triangulate(part.grid)
        u = (x + 0.5 + np.linspace(0, 1, part.grid.shape[1]) * (w - 1)) / ATLAS
        v = (y + 0.5 + rows * (h - 1)) / ATLAS
        columns[0].append(part.grid.reshape(-1, 3))
        columns[1].append(mesh.vertex_normals[mesh.metadata["inverse"]])
        columns[2].append(np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2))
        columns[3].append(mesh.metadata["corners"] + count)
        count += part.grid.shape[0] * part.grid.shape[1]
    orm = np.stack([np.ones((ATLAS, ATLAS)), np.clip(atlas[..., 3], 0.05, 1.0), atlas[..., 4]], axis=-1)
    vertices, normals, uvs, faces = (np.concatenate(column) for column in columns)
    return Model(
        vertices=vertices,
        normals=normals,
        uvs=uvs,
        faces=faces,
        orm=np.uint8(255 * orm + 0.5),
        base_color_srgb=np.uint8(np.clip(atlas[..., :3], 0, 255) + 0.5),
    )


def wood(size: int) -> Array:
    """Oak boards along x."""
    y, x = np.mgrid[0:size, 0:size] * (2.0 * TABLE_RADIUS / size)
    board = np.floor((y + 0.03) / 0.105)
    tone = np.random.default_rng(5).uniform(-1.0, 1.0, (16, 2))[board.astype(int)]
    bend = 0.006 * noise(np.stack([x, y, board], axis=-1), (0.11, 0.05, 1.0), 2)
    points = np.stack([x + 3.0 * tone[..., 0], y + bend, board], axis=-1)
    ring = noise(points, (0.5, 0.011, 1.0), 2)
    fibre, pore = noise(points, (0.05, 0.0011, 1.0), 2), noise(points, (0.012, 0.0009, 1.0))
    color = mix((176, 124, 76), (122, 78, 44), ramp(ring, 0.30, 0.75))
    color = mix(
        color * (0.86 + 0.22 * fibre + 0.07 * tone[..., 1])[..., None], (70, 44, 26), 0.55 * ramp(pore, 0.78, 0.9)
    )
    gap = abs(((y + 0.03) % 0.105) - 0.0008) < 0.0008
    return np.where(gap[..., None], (48, 30, 20), color)


def table_picture(size: int = 3072) -> NDArray[np.uint8]:
    """The table's top: boards, the mat and six sheets with soft contact shadows."""
    per_metre = size / (2.0 * TABLE_RADIUS)
    picture = Image.fromarray(np.uint8(np.clip(wood(size), 0, 255)))
    pages = [(blueprint(round(0.30 * per_metre)), (0.0, 0.0), 12.0)]
    spots = (
        (0.245, 0.10, 20),
        (0.10, 0.265, -34),
        (-0.165, 0.235, 8),
        (-0.27, 0.02, 74),
        (-0.15, -0.24, -22),
        (0.13, -0.25, 160),
    )
    for k, (x, z, turn_deg) in enumerate(spots):
        page = sheet((round((0.105 + 0.008 * (k % 3)) * per_metre), round(0.148 * per_metre)), k + 1)
        pages.append((page, (x, z), float(turn_deg)))
    for page, (x, z), turn_deg in reversed(pages):
        turned = page.convert("RGBA").rotate(turn_deg, Image.Resampling.BICUBIC, expand=True)
        left, top = (round(0.5 * (size - side) + per_metre * at) for side, at in zip(turned.size, (x, z), strict=True))
        cover = Image.new("L", (size, size))
        cover.paste(turned.getchannel("A"), (left, top))
        shadow = cv2.GaussianBlur(np.asarray(cover), (0, 0), 6.0) / 255.0
        picture = Image.fromarray(np.uint8(np.asarray(picture) * (1.0 - 0.45 * shadow[..., None])))
        picture.paste(turned, (left, top), turned)
    return np.asarray(picture)


def table_model() -> Model:
    """A round table-top just below y = 0, mapped from above."""
    profile = rounded([(0, -3e-4), (TABLE_RADIUS, -3e-4), (TABLE_RADIUS, -0.028), (0, -0.028)], 0.006, 0.02)
    grid = lathe(profile, segments=180)
    mesh = triangulate(grid)
    vertices, normals = grid.reshape(-1, 3), mesh.vertex_normals[mesh.metadata["inverse"]]
    return Model(
        vertices=vertices,
        normals=normals,
        faces=mesh.metadata["corners"],
        uvs=0.5 + vertices[:, [0, 2]] / (2.0 * TABLE_RADIUS),
        base_color_srgb=table_picture(),
        orm=np.zeros((1, 1, 3), np.uint8),
    )
