"""Bad folders of photos as a user meets them: exit code, the file's name, the number, the remedy, and no traceback."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import cli
from tests.ingest_runs import ingest, no_children
from tests.stage_context import picture, write_photos

__all__ = ["no_children"]
pytestmark = pytest.mark.usefixtures("no_children")


def folder_of(*names: str) -> Callable[[Path], None]:
    return lambda images: write_photos(images, *names) and None


def copies(images: Path) -> None:
    images.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        picture(0).save(images / name)


def blurred(images: Path) -> None:
    images.mkdir()
    y, x = np.mgrid[:240, :320]
    for k in range(4):
        waves = 110 + 90 * np.sin(x / (18 + 2 * k)) * np.cos(y / 21)  # smooth all over
        Image.fromarray(waves.astype(np.uint8)).convert("RGB").save(images / f"{k}.png")


def dark(images: Path) -> None:
    images.mkdir()
    for k in range(4):
        Image.new("RGB", (40, 30), (k, k, k)).save(images / f"{k}.png")


def deep_down(images: Path) -> None:
    write_photos(images / "day" / "one", "a.jpg", "b.jpg", "c.jpg")


def foreign_masks(images: Path) -> None:
    write_photos(images, "a.jpg", "b.jpg", "c.jpg")
    write_photos(images / "masks", "x.png")


def small_masks(images: Path) -> None:
    write_photos(images, "a.jpg", "b.jpg", "c.jpg")
    (images / "masks").mkdir()
    for name in "abc":
        picture(0, 20, 15).save(images / "masks" / f"{name}.png")


def pages(images: Path) -> None:
    images.mkdir()
    for name in ("<script>alert(1)<.jpg", "a'b\".jpg", "写真.jpg"):
        (images / name).write_text("<!doctype html><html></html>")


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (Path.mkdir, 3, ("holds no photos", ".jpg, .jpeg, .png", "40 or more")),
        (folder_of("a.jpg"), 3, ("1 of 1 photos usable, at least 3 needed", "40 or more")),
        (folder_of("a.jpg", "b.jpg"), 3, ("2 of 2 photos usable, at least 3 needed", "40 or more")),
        (copies, 3, ("1 unique of 4 photos", "b.png is the same picture as a.png")),
        (blurred, 4, ("4 are blurred", "worst first", ".png (", "tripod")),
        (dark, 3, ("0 of 4 photos usable", "0.png: shows nothing, black", "limit 24")),
        (deep_down, 3, ("holds no photos, but day/one does", "--recursive")),
        (foreign_masks, 3, ("masks: none of 1 masks (x.png, ...) is named like one of 3 photos", "rename")),
        (small_masks, 3, ("3 of 3 masks do not fit", "a.png is 20x15 px, its photo 40x30 px", "upright")),
        (pages, 3, ("0 of 3 photos usable", "text/html")),
    ],
)
def test_a_bad_folder_is_told_in_one_line(
    make: Callable[[Path], None],
    code: int,
    told: tuple[str, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = tmp_path / "photos"
    make(images)
    before = {p: p.read_bytes() for p in images.rglob("*") if p.is_file()}
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)  # keep the test's own
    assert cli.main(["run", "--images", str(images), "--out", str(tmp_path / "out")]) == code
    errors = capfd.readouterr().err.splitlines()
    assert errors[-1].startswith("recon: error: ") and str(images) in errors[-1]
    assert all(part in errors[-1] for part in told), errors[-1]
    assert all(line.startswith("warning: ") for line in errors[:-1])
    assert {p: p.read_bytes() for p in images.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("occupied", ["a note", "the photos' parent"])
def test_what_lies_in_a_foreign_output_folder_is_told(
    occupied: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = write_photos(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg"), tmp_path
    if occupied == "a note":
        out = tmp_path / "out"
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    assert cli.main(["run", "--images", str(images), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    name = "thesis.txt" if occupied == "a note" else "photos"
    assert f"{out}: holds 1 entries ({name}) but no run" in told and "--out" in told


def test_the_second_pass_is_checked_like_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_photos(tmp_path / "up", "a.jpg")
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "--images", str(images), "--images", str(tmp_path / "down")]) == 2
    assert "down: does not exist" in capsys.readouterr().err
    down = write_photos(tmp_path / "down", "a.jpg")
    assert cli.main(["run", "--images", str(images), "--images", str(down), "--out", str(down)]) == 2
    assert "down: is the folder of the photos" in capsys.readouterr().err


def test_passes_have_a_light_each_and_photos_of_one_name_stay_apart(tmp_path: Path) -> None:
    up, down = tmp_path / "up", tmp_path / "down"
    for seed, folder in enumerate((up, down)):
        folder.mkdir()
        for k, name in enumerate(("a.png", "b.png")):
            picture(10 * seed + k).save(folder / name)
    photos, _ = ingest(up, down)
    assert [(p.name, p.light_index) for p in photos.photos] == [
        ("up/a.png", 0),
        ("up/b.png", 0),
        ("down/a.png", 1),
        ("down/b.png", 1),
    ]
    assert len({p.image_path for p in photos.photos}) == 4
