"""How masks come about: in which order methods are tried, what a plain backdrop needs, and what happens with none."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import GeometryConfig, MasksConfig
from pipeline.errors import CaptureError, InputError
from pipeline.formats.images import read_mask
from pipeline.scene import Capture
from pipeline.stages.geometry import carve
from pipeline.stages.masks import complete_masks
from pipeline.stages.masks_key import unmix
from pipeline.stages.masks_methods import box_silhouette
from tests.plain_photos import BLACK, GREEN, WHITE, with_masks, write_photos
from tests.shapes import camera_at, sphere_mask
from tests.stage_context import make_context


def ious(capture: Capture, truth: list[np.ndarray]) -> list[float]:
    found = []
    for view, right in zip(capture.views, truth, strict=True):
        a, b = read_mask(view.mask_path).numpy() > 0.5, right > 0.5
        found.append(float((a & b).sum() / (a | b).sum()))
    return found


@pytest.mark.parametrize("backdrop", [WHITE, BLACK, GREEN])
def test_a_plain_backdrop_is_keyed_without_its_shadows(tmp_path: Path, backdrop: tuple[float, float, float]) -> None:
    capture, truth = write_photos(tmp_path / "photos", 8, backdrop)
    context, warnings = make_context(tmp_path / "stage")
    done = complete_masks(capture, None, MasksConfig(working_px=200), context)
    assert context.metrics["backdrop"] == 8 and not warnings
    assert min(ious(done, truth)) > 0.97, ious(done, truth)
    error = [np.abs(read_mask(v.mask_path).numpy() - t).mean() for v, t in zip(done.views, truth, strict=True)]
    assert max(error) < 0.006  # coverage, not a stencil: binary truth itself is off by 0.004


def test_masks_that_came_along_stay_and_only_the_missing_are_made(tmp_path: Path) -> None:
    capture, truth = write_photos(tmp_path / "photos", 8, WHITE)
    given = with_masks(capture, truth, tmp_path / "masks")
    mixed = replace(capture, views=(*given.views[:6], *capture.views[6:]))
    context, warnings = make_context(tmp_path / "stage")
    done = complete_masks(mixed, None, MasksConfig(working_px=200), context)
    assert [v.mask_path for v in done.views[:6]] == [v.mask_path for v in given.views[:6]]
    assert min(ious(done, truth)[6:]) > 0.95
    records = json.loads((tmp_path / "stage" / "masks.json").read_text())["masks"]
    assert [r["method"] for r in records] == ["given"] * 6 + ["backdrop"] * 2
    assert "2 photos came without a mask; made by backdrop: 06.png, 07.png" in warnings
    with pytest.raises(InputError, match="2 of 8 photos have no mask: 06.png, 07.png"):
        complete_masks(mixed, None, MasksConfig(method="given"), make_context(tmp_path / "none")[0])


def test_a_wanted_backdrop_that_is_none_is_an_error(tmp_path: Path) -> None:
    capture, _ = write_photos(tmp_path / "photos", 4, WHITE)
    for index, view in enumerate(capture.views):
        noise = np.random.default_rng(index).integers(0, 256, (200, 200, 3), np.uint8)
        Image.fromarray(noise).save(view.image_path)
    with pytest.raises(CaptureError, match="most photos have no plain backdrop"):
        complete_masks(capture, None, MasksConfig(method="backdrop"), make_context(tmp_path / "stage")[0])


def test_without_any_object_the_run_goes_on_with_the_box_and_says_so(tmp_path: Path) -> None:
    capture, _ = write_photos(tmp_path / "photos", 6, WHITE)
    for view in capture.views:
        Image.fromarray(np.full((200, 200, 3), 180, np.uint8)).save(view.image_path)
    context, warnings = make_context(tmp_path / "stage")
    box = torch.tensor([[-0.4, -0.6, -0.3], [0.5, 0.3, 0.3]], dtype=torch.float64)
    done = complete_masks(replace(capture, object_box=box), None, MasksConfig(working_px=100, rounds=1), context)
    assert not done.outlined and context.metrics["none"] == 6 and context.metrics["flagged"] == 0
    assert any("no masks could be made" in w for w in warnings)
    assert any("masks/" in w and "--mask-model" in w for w in warnings)
    mesh = carve(done, GeometryConfig(grid_resolution=33), make_context(tmp_path / "geometry")[0])
    size = mesh.vertices.max(0).values - mesh.vertices.min(0).values
    assert bool((size > 0.95 * (box[1] - box[0])).all()) and bool((size < 2 * (box[1] - box[0])).all()), size


def test_the_silhouette_of_a_box_is_exact() -> None:
    camera = camera_at((0.0, 0.0, 5.0), size_px=100, focal_px=100.0)
    box = torch.tensor([[-1.0, -0.5, -1.0], [1.0, 0.5, 1.0]], dtype=torch.float64)
    mask = box_silhouette(camera, box)  # the near face, at depth 4, hides the rest: 50 x 25 px
    assert abs(float(mask.sum()) - 50 * 25) < 2
    inside = camera_at((0.0, 0.0, 0.5), size_px=100, focal_px=100.0)
    assert float(box_silhouette(inside, box).min()) == 1


def test_unmixing_tells_coverage_to_a_few_percent() -> None:
    coverage = sphere_mask(camera_at((0.0, 0.0, 4.0), size_px=160))
    colors = np.array([[0.5, 0.1, 0.1], [0.7, 0.7, 0.7]])
    linear = coverage[..., None] * colors[0] + (1 - coverage[..., None]) * colors[1]
    rgb = (np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255).round()
    label = cv2.resize((coverage > 0.5).astype(np.float32), (80, 80), interpolation=cv2.INTER_AREA)
    found = unmix(label, rgb.astype(np.uint8))
    assert np.abs(found - coverage).max() < 0.03
