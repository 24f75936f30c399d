"""Masks that the user edited win, by any of their names; what does not fit is refused with the file's name."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.scene import Capture, View
from pipeline.stages.masks_edited import with_edited_masks
from pipeline.workspace import Staged
from tests.shapes import camera_at
from tests.stage_context import posed

SIZE_PX = 32


@pytest.fixture
def settled(tmp_path: Path) -> Staged[Capture]:
    """Three views of which the second came with a mask."""
    view = View(
        name="",
        image_path=Path(),
        mask_path=None,
        camera=camera_at((0.0, 0.0, 4.0), size_px=SIZE_PX),
        exposure=torch.ones(3),
        light_from_world=torch.eye(4, dtype=torch.float64),
    )
    named = [
        dataclasses.replace(
            view,
            name=name,
            image_path=tmp_path / "poses" / "images" / f"{k:04d}_{Path(name).stem}.jpg",
            mask_path=tmp_path / "given.png" if k == 1 else None,
        )
        for k, name in enumerate(("a.jpg", "b.jpg", "left/c.jpg"))
    ]
    return Staged(value=posed(named), key="key")


def write(path: Path, *, size: tuple[int, int] = (SIZE_PX, SIZE_PX), white: int = 10) -> Path:
    path.parent.mkdir(exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[:, :white] = 255
    images.write_png(path, mask)
    return path


def test_without_edits_nothing_changes(settled: Staged[Capture], tmp_path: Path) -> None:
    assert with_edited_masks(settled, tmp_path) is settled
    (tmp_path / "masks_edited").mkdir()
    (tmp_path / "masks_edited" / "notes.txt").write_text("later")
    assert with_edited_masks(settled, tmp_path) is settled


def test_edits_win_by_the_runs_name_or_the_photos(settled: Staged[Capture], tmp_path: Path) -> None:
    folder = tmp_path / "masks_edited"
    paths = [write(folder / name) for name in ("0000_a.png", "b.png", "c.png")]
    edited = with_edited_masks(settled, tmp_path)
    assert [v.mask_path for v in edited.value.views] == [p.resolve() for p in paths]
    assert edited.key != settled.key
    assert with_edited_masks(settled, tmp_path).key == edited.key
    write(paths[0], white=11)
    assert with_edited_masks(settled, tmp_path).key != edited.key


def test_masks_that_were_not_edited_stay(settled: Staged[Capture], tmp_path: Path) -> None:
    path = write(tmp_path / "masks_edited" / "0002_c.png")
    kept = [v.mask_path for v in with_edited_masks(settled, tmp_path).value.views]
    assert kept == [None, tmp_path / "given.png", path.resolve()]


@pytest.mark.parametrize(
    ("names", "shape", "told"),
    [
        (["d.png"], {}, "d.png: is named after none of the 3 posed photos (name it like .* 0000_a.png)"),
        (["a.png", "0000_a.png"], {}, "is a second mask of a.jpg, beside 0000_a.png"),
        (["a.png"], {"size": (32, 31)}, "a.png: is 31x32 px, the undistorted a.jpg 32x32 px"),
        (["a.png"], {"white": 0}, "a.png: is all black or all white"),
        (["a.png"], {"white": SIZE_PX}, "a.png: is all black or all white"),
    ],
)
def test_what_does_not_fit_is_refused(
    settled: Staged[Capture], tmp_path: Path, names: list[str], shape: dict, told: str
) -> None:
    for name in names:
        write(tmp_path / "masks_edited" / name, **shape)
    with pytest.raises(InputError) as caught:
        with_edited_masks(settled, tmp_path)
    for part in told.split(" (name it like .* "):
        assert part in str(caught.value)


def test_a_damaged_mask_is_refused(settled: Staged[Capture], tmp_path: Path) -> None:
    path = write(tmp_path / "masks_edited" / "a.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="a.png"):
        with_edited_masks(settled, tmp_path)
