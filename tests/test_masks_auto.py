"""Masks made from nothing but photos, against the truth of ray-cast scenes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.formats.images import read_mask
from pipeline.geometry.soft_cut import soft_cut
from pipeline.geometry.support_plane import find_plane
from pipeline.scene import Camera, Capture, View
from pipeline.stages.masks_auto import make_masks
from tests.stage_context import make_context

WIDTH, HEIGHT, FOCAL = 240, 180, 260.0
RADIUS, TABLE = 0.55, -0.55
ROD, ROD_TOP = 0.05, 0.95
NOISE = np.random.default_rng(7).uniform(0, 1, (64, 64, 3))


def ring(count: int, *, cut: bool = False) -> list[Camera]:
    """Cameras around the origin; in every fourth of those that cut, the frame ends through the object."""
    cameras = []
    for k in range(count):
        turn, tilt = 2 * math.pi * k / count, (0.25, 0.7)[k % 2]
        back = np.array([math.cos(turn) * math.cos(tilt), math.sin(tilt), math.sin(turn) * math.cos(tilt)])
        right = np.cross([0.0, 1.0, 0.0], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, -np.cross(back, right), -back])
        pose[:3, 3] = [0, 0, 3.5]
        down = 75.0 if cut and k % 4 == 0 else 0.0
        matrix = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2 + down], [0, 0, 1]], dtype=torch.float64)
        cameras.append(Camera(K=matrix, cam_from_world=torch.from_numpy(pose), width=WIDTH, height=HEIGHT))
    return cameras


def texture(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Random patches, smooth enough to be matched."""
    u, v = a % 64, b % 64
    i, j, fu, fv = u.astype(int), v.astype(int), (u % 1)[..., None], (v % 1)[..., None]
    top = NOISE[i, j] * (1 - fu) + NOISE[(i + 1) % 64, j] * fu
    bottom = NOISE[i, (j + 1) % 64] * (1 - fu) + NOISE[(i + 1) % 64, (j + 1) % 64] * fu
    return top * (1 - fv) + bottom * fv


def photograph(camera: Camera, *, table: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A painted ball with a rod on a patterned table before a grey wall, or before a backdrop that darkens to its rim.

    Returns the photo, where it shows the object, and where the rod.
    """
    cx, cy = camera.K[0, 2].item(), camera.K[1, 2].item()
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - cx, np.arange(HEIGHT) + 0.5 - cy)
    ray = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], -1) @ camera.cam_from_world[:3, :3].numpy()
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    center = camera.camera_center.numpy()
    along = ray @ center
    root = along**2 - center @ center + RADIUS**2
    ball = root > 0
    point = center + (-along - np.sqrt(root.clip(0)))[..., None] * ray
    rod = rod_hit(center, ray) & ~ball
    paint = np.array([0.75, 0.3, 0.2]) * (
        0.55 + 0.45 * texture(9 * np.arctan2(point[..., 2], point[..., 0]), 12 * point[..., 1])
    )
    if table:
        down = ray[..., 1] < -0.05
        hit = center + ((TABLE - center[1]) / np.where(down, ray[..., 1], -1))[..., None] * ray
        far = texture(4 * np.arctan2(ray[..., 2], ray[..., 0]), 4 * ray[..., 1])
        rest = np.where(down[..., None], 0.25 + 0.5 * texture(8 * hit[..., 0], 8 * hit[..., 2]), 0.4 + 0.1 * far)
    else:
        rest = (0.8 - 0.2 * ((x / WIDTH) ** 2 + (y / HEIGHT) ** 2))[..., None] * np.array([1.0, 0.98, 0.94])
    grain = np.random.default_rng(0).normal(0, 0.008, paint.shape)
    image = np.where(ball[..., None], paint, np.where(rod[..., None], [0.7, 0.28, 0.18], rest)) + grain
    return (image.clip(0, 1) * 255).round().astype(np.uint8), ball | rod, rod


def rod_hit(center: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Where rays meet an upright cylinder on top of the ball."""
    a = ray[..., 0] ** 2 + ray[..., 2] ** 2
    b = ray[..., 0] * center[0] + ray[..., 2] * center[2]
    root = b**2 - a * (center[0] ** 2 + center[2] ** 2 - ROD**2)
    height = center[1] + ray[..., 1] * (-b - np.sqrt(root.clip(0))) / a
    return (root > 0) & (height > RADIUS - ROD) & (height < ROD_TOP)


def write_capture(
    folder: Path, count: int, *, table: bool, cut: bool = False
) -> tuple[Capture, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A capture, and what its photos show of the object and of the rod."""
    folder.mkdir(parents=True)
    views, truth, rods = [], {}, {}
    for k, camera in enumerate(ring(count, cut=cut)):
        image, truth[f"{k:02d}"], rods[f"{k:02d}"] = photograph(camera, table=table)
        path = folder / f"{k:02d}.png"
        Image.fromarray(image).save(path)
        views.append(
            View(
                name=f"{k:02d}",
                image_path=path,
                mask_path=None,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4, dtype=torch.float64),
            )
        )
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(400, 3, generator=generator, dtype=torch.float64) * 4 - 2
    points[:, 1] = TABLE
    capture = Capture(
        views=tuple(views),
        points=points if table else points[:0],
        point_colors=torch.full_like(points if table else points[:0], 0.5),
        object_box=torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64),
        world_from_input=torch.eye(4, dtype=torch.float64),
        metres_per_unit=None,
    )
    return capture, truth, rods


def ious(views: tuple[View, ...], truth: dict[str, np.ndarray]) -> list[float]:
    result = []
    for view in views:
        made = read_mask(view.mask_path).numpy() > 0.5
        result.append(float((made & truth[view.name]).sum() / (made | truth[view.name]).sum()))
    return result


@pytest.mark.parametrize(("table", "cut"), [(True, True), (False, False)])
def test_a_ball_and_its_rod_are_cut_out_of_table_and_backdrop(tmp_path: Path, table: bool, cut: bool) -> None:
    capture, truth, rods = write_capture(tmp_path / "in", 16, table=table, cut=cut)
    context, warnings = make_context(tmp_path / "stage")
    views = make_masks(capture, MasksConfig(working_px=400), context)
    assert context.metrics["support_found"] == table
    assert context.metrics["plain_backdrop"] != table
    found = ious(views, truth)
    assert min(found) > 0.94 and np.mean(found) > 0.97, found
    rod_found = [float((read_mask(v.mask_path).numpy() > 0.5)[rods[v.name]].mean()) for v in views]
    assert min(rod_found) > 0.6 and np.mean(rod_found) > 0.8, rod_found
    assert not warnings


def test_the_same_photos_give_the_same_masks(tmp_path: Path) -> None:
    capture, _, _ = write_capture(tmp_path / "in", 8, table=True)
    config = MasksConfig(working_px=120, rounds=1)
    first, second = (make_masks(capture, config, make_context(tmp_path / n)[0]) for n in ("a", "b"))
    for a, b in zip(first, second, strict=True):
        assert a.mask_path.read_bytes() == b.mask_path.read_bytes()


def test_given_masks_stay_and_teach_the_others(tmp_path: Path) -> None:
    capture, truth, _ = write_capture(tmp_path / "in", 12, table=True)
    given = tmp_path / "given.png"
    Image.fromarray(truth["00"].astype(np.uint8) * 255).save(given)
    views = list(capture.views)
    views[0] = View(**{**vars(views[0]), "mask_path": given})
    capture = Capture(**{**vars(capture), "views": tuple(views)})
    done = make_masks(capture, MasksConfig(working_px=WIDTH), make_context(tmp_path / "stage")[0])
    assert done[0].mask_path == given
    assert min(ious(done, truth)) > 0.88


def test_a_capture_without_anything_in_the_middle_is_refused(tmp_path: Path) -> None:
    capture, _, _ = write_capture(tmp_path / "in", 8, table=False)
    for view in capture.views:
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 180, np.uint8)).save(view.image_path)
    with pytest.raises(CaptureError, match="could not be told"):
        make_masks(capture, MasksConfig(working_px=120), make_context(tmp_path / "stage")[0])


def test_the_support_is_the_wide_plane_not_the_dense_one() -> None:
    generator = np.random.default_rng(3)
    table = generator.uniform(-2, 2, (400, 3)) * [1, 0, 1] + [0, -0.6, 0]
    book = generator.uniform(-0.2, 0.2, (2000, 3)) * [1, 0, 1] + [1.2, -0.3, 0]
    plane = find_plane(np.concatenate([table, book]), seed=0)
    assert plane is not None
    assert np.allclose(plane.normal, [0, 1, 0], atol=1e-3) and abs(plane.offset + 0.6) < 1e-3
    assert find_plane(generator.normal(size=(500, 3)), seed=0) is None


def test_a_cut_without_borders_to_pay_for_follows_the_evidence() -> None:
    evidence = np.random.default_rng(1).normal(size=(40, 50)).astype(np.float32)
    free = np.zeros_like(evidence)
    labels = soft_cut(evidence, free, np.full_like(evidence, 0.5), iterations=300)
    assert np.array_equal(labels > 0.5, evidence > 0)
    dear = soft_cut(evidence + 0.2, np.full_like(evidence, 50.0), np.full_like(evidence, 0.5), iterations=3000)
    assert np.ptp(dear) < 0.05 and dear.mean() > 0.9  # one label for all: the sign of the sum
