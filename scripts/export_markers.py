"""Two small assets that show at a glance whether a renderer understands our files, and the checks for it.

`mirror`: a mirror ball under a light with a red spot at +X, a green one at +Y and a blue one at +Z.
`chart`: a matt ball under uniform light of radiance 1, its base colour a different one in each quarter of the map.
Writing them needs `pipeline`; checking a picture needs numpy alone, so that it also runs in Blender's Python.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SIZE_PX, DISTANCE, SPOT = 128, 20.0, 40.0
AXES = {"front": (0, 0, 1), "right": (1, 0, 0), "back": (0, 0, -1), "left": (-1, 0, 0), "above": (0.6, 0.5, 0.6)}
# A white furnace shows base colour plus about F0; renderers differ in how the lobes share what is left (seen: 0.05).
F0, CHART_TOLERANCE = 0.04, 0.07
CHART = np.array([[[0.8, 0.1, 0.1], [0.1, 0.5, 0.1]], [[0.1, 0.1, 0.8], [0.4, 0.4, 0.1]]])  # linear; [row][column]


def views() -> dict[str, dict[str, Any]]:
    """Cameras by name, aimed at the origin; the last ones have a principal point off the centre."""
    cameras = {}
    for index, (name, axis) in enumerate(AXES.items()):
        back = np.array(axis) / np.linalg.norm(axis)
        right = np.cross([0, 1, 0], back) / np.linalg.norm(np.cross([0, 1, 0], back))
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, DISTANCE * back], -1)
        centre = {"cx": SIZE_PX / 2 + 8, "cy": SIZE_PX / 2 - 5} if index > 2 else {"cx": SIZE_PX / 2, "cy": SIZE_PX / 2}
        focal = 0.4 * SIZE_PX * DISTANCE
        cameras[name] = {"w": SIZE_PX, "h": SIZE_PX, "fl_x": focal, "fl_y": focal, **centre, "pose": pose}
    return cameras


def write_markers(folder: Path) -> None:
    """Write `mirror/` and `chart/`, each with asset.glb, light.hdr and cameras.json, by the product's own writers."""
    import torch

    from pipeline.formats.gltf import write_glb
    from pipeline.formats.images import write_hdr
    from pipeline.formats.transforms_json import write_cameras
    from pipeline.frames import cam_from_world_from_gl_pose, direction_from_equirect_uv
    from pipeline.scene import Asset, Camera, Material

    def grid(height: int, width: int) -> torch.Tensor:
        v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        return torch.stack([u, v], -1)

    directions = direction_from_equirect_uv(grid(64, 128))
    chart = torch.tensor(CHART, dtype=torch.float32).repeat_interleave(16, 0).repeat_interleave(16, 1)
    plain = torch.ones(32, 32, 3)
    lights = {"mirror": 0.02 + 20 * torch.exp(SPOT * (directions - 1)), "chart": torch.ones(64, 128, 3)}
    materials = {
        "mirror": Material(base_color=plain, orm=plain * torch.tensor([1.0, 0.1, 1.0])),
        "chart": Material(base_color=chart, orm=plain * torch.tensor([1.0, 0.5, 0.0])),
    }
    cameras = {}
    for name, view in views().items():
        K = torch.tensor([[view["fl_x"], 0, view["cx"]], [0, view["fl_y"], view["cy"]], [0, 0, 1.0]])
        pose = cam_from_world_from_gl_pose(torch.tensor(view["pose"]))
        cameras[f"{name}.png"] = Camera(K=K.double(), cam_from_world=pose, width=view["w"], height=view["h"])
    ball = _ball()
    for name, material in materials.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_glb(Asset(mesh=ball, material=material), ball.vertices, folder / name / "asset.glb")
        write_hdr(folder / name / "light.hdr", lights[name])
        write_cameras(folder / name / "cameras.json", cameras)


def _ball() -> Any:  # noqa: ANN401  # a pipeline.scene.Mesh
    """The unit ball as a grid of longitudes and latitudes, whose uv are those of the light map."""
    import torch

    from pipeline.frames import direction_from_equirect_uv
    from pipeline.scene import Mesh

    rows, columns = 32, 64
    v, u = torch.meshgrid(torch.arange(rows + 1) / rows, torch.arange(columns + 1) / columns, indexing="ij")
    uvs = torch.stack([u, v], -1).reshape(-1, 2)
    corner = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).reshape(-1)
    below, beside = corner + columns + 1, corner + 1
    uv_faces = torch.cat([torch.stack([corner, beside, below], -1), torch.stack([beside, below + 1, below], -1)])
    # One vertex for the first and the last longitude, and one at each pole: the surface is closed.
    row, column = uv_faces // (columns + 1), uv_faces % (columns + 1) % columns
    faces = row * (columns + 1) + torch.where((row == 0) | (row == rows), 0, column)
    return Mesh(vertices=direction_from_equirect_uv(uvs), faces=faces, uvs=uvs, uv_faces=uv_faces)


def check_mirror(picture: np.ndarray, view: Mapping[str, Any]) -> list[str]:
    """What is wrong with a picture of `mirror`: each spot must be brightest where its direction is reflected."""
    back = view["pose"][:3, 2]
    problems = []
    for channel, colour in enumerate(("red", "green", "blue")):
        halfway = np.eye(3)[channel] + back
        if np.linalg.norm(halfway) < 0.5:
            continue
        expected = _project(halfway / np.linalg.norm(halfway), view)
        others = picture[..., :3].sum(-1) - picture[..., channel]
        row, column = np.unravel_index(np.argmax(picture[..., channel] - others), others.shape)
        off_px = float(np.hypot(column + 0.5 - expected[0], row + 0.5 - expected[1]))
        if off_px > 0.04 * SIZE_PX or picture[row, column, channel] < 1:
            problems.append(f"{colour} spot at ({column}, {row}) instead of ({expected[0]:.0f}, {expected[1]:.0f})")
    return problems


def check_chart(picture: np.ndarray, view: Mapping[str, Any]) -> list[str]:
    """What is wrong with a picture of `chart`: outside the borders of the quarters, each point has its colour."""
    problems = []
    for u in np.arange(0.0625, 1, 0.125):
        for v in (0.3, 0.4, 0.6, 0.7):
            angle, height = (u - 0.5) * 2 * np.pi, np.cos(np.pi * v)
            normal = np.array([np.cos(angle) * np.sin(np.pi * v), height, np.sin(angle) * np.sin(np.pi * v)])
            if normal @ view["pose"][:3, 2] < 0.7:
                continue
            x, y = _project(normal, view)
            patch = picture[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3, :3].mean((0, 1))
            expected = CHART[int(v > 0.5)][int(u > 0.5)] + F0
            if np.abs(patch - expected).max() > CHART_TOLERANCE:
                problems.append(f"{patch.round(2)} at uv ({u:.2f}, {v:.1f}) instead of {expected}")
    return problems


def _project(point: np.ndarray, view: Mapping[str, Any]) -> tuple[float, float]:
    x, y, z, _ = np.linalg.inv(view["pose"]) @ [*point, 1.0]
    return view["cx"] + view["fl_x"] * x / -z, view["cy"] - view["fl_y"] * y / -z
