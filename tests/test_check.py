"""The capture doctor against directions whose gaps are known in closed form, and through the command line."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cli
from pipeline.check.advice import advise, gap_words
from pipeline.check.coverage import Coverage, measure_coverage, missing_sectors
from pipeline.check.directions import (
    all_directions,
    azimuth_deg,
    covered_share,
    direction,
    elevation_deg,
    widest_gap,
)
from pipeline.check.picture import CAMERA, EMPTY, NEAR, SEEN, draw_coverage
from pipeline.check.verdicts import report_photos
from pipeline.formats.images import image_size, read_image
from pipeline.scene import Photo, Photos, Verdict
from tests.stage_context import picture, posed, write_photos
from tests.synthetic_capture import write_tiny_capture
from tests.test_world_frame import camera_at, views

ORIGIN = torch.zeros(3, dtype=torch.float64)


def ring(count: int, elevation: float, *, start: float = 0.0, arc: float = 360.0) -> list[np.ndarray]:
    return [direction(start + arc * k / count, elevation) for k in range(count)]


def coverage_of(directions: list[np.ndarray]) -> Coverage:
    cameras = [camera_at(torch.from_numpy(3 * d), ORIGIN) for d in directions]
    named = [dataclasses.replace(v, name=f"IMG_{k:04d}.jpg") for k, v in enumerate(views(cameras))]
    return measure_coverage(posed(named))


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / math.sqrt(3)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


@pytest.mark.parametrize(
    ("cameras", "lowest_deg", "radius_deg"),
    [
        (np.eye(3)[:1], -90, 180),  # the antipode
        (TETRAHEDRON, -90, math.degrees(math.acos(1 / 3))),  # the middle of a face
        (CUBE, -90, math.degrees(math.acos(1 / math.sqrt(3)))),
        (OCTAHEDRON, -90, math.degrees(math.acos(1 / math.sqrt(3)))),
        (np.stack(ring(36, 0)), 0, 90),  # straight above
        (np.stack(ring(36, 60)), 0, math.degrees(math.acos(math.cos(math.pi / 36) * math.cos(math.pi / 3)))),
        (np.stack(ring(3, 0)), -90, 90),
        (np.array([[0.0, 1, 0]]), 0, 90),
        (np.array([[0.0, 1, 0]]), 30, 60),  # nothing below the lowest elevation counts
    ],
)
def test_the_widest_gap_is_that_of_the_closed_form(cameras: np.ndarray, lowest_deg: float, radius_deg: float) -> None:
    gap = widest_gap(cameras, lowest_deg=lowest_deg)
    assert gap.radius_deg == pytest.approx(radius_deg, abs=0.01)
    assert np.linalg.norm(gap.direction) == pytest.approx(1) and elevation_deg(gap.direction) >= lowest_deg - 1e-6


def test_the_covered_share_is_that_of_a_cap() -> None:
    """A cap of angle a has the share (1 - cos a) / 2 of the sphere, and all of it lies above level at the top."""
    top = np.array([[0.0, 1, 0]])
    for reach in (25, 60):
        cap = 1 - math.cos(math.radians(reach))
        assert covered_share(top, lowest_deg=-90, reach_deg=reach) == pytest.approx(cap / 2, abs=1e-3)
        assert covered_share(top, lowest_deg=0, reach_deg=reach) == pytest.approx(cap, abs=2e-3)


def test_angles_and_directions_invert_and_grow_to_the_right() -> None:
    assert direction(0, 0) == pytest.approx([0, 0, 1]) and direction(90, 0) == pytest.approx([1, 0, 0])
    for azimuth, elevation in ((10, 20), (200, -50), (359, 80)):
        there = direction(azimuth, elevation)
        assert (azimuth_deg(there), elevation_deg(there)) == (pytest.approx(azimuth), pytest.approx(elevation))
    assert elevation_deg(all_directions(20)).min() == pytest.approx(20)


def test_photos_from_all_sides_need_no_more() -> None:
    full = coverage_of([*ring(18, 10), *ring(16, 35), *ring(10, 60), *ring(2, 88)])
    assert full.share == pytest.approx(1) and full.lowest_deg == 0 and missing_sectors(full) == []
    assert advise(full, usable=46) == ["nothing: the photos look from all sides."]
    assert "by 20 photos" in advise(full, usable=20)[0]


def test_a_missing_sector_is_told_by_the_photos_beside_it() -> None:
    """Rings whose azimuths 60 to 120 degrees are missing: to the right of IMG_0003 and to the left of IMG_0004."""
    lows = [0, 20, 40, 57, 123, 140, 160, 180, 200, 220, 240, 260, 280, 300, 320, 340]
    cameras = [direction(a, 10) for a in lows] + [direction(a, e) for e in (35, 60) for a in range(0, 360, 15)]
    coverage = coverage_of([*cameras, direction(0, 88)])
    assert missing_sectors(coverage) == []  # the ring above reaches down to it
    coverage = coverage_of([direction(a, 10) for a in lows] + ring(24, 60) + ring(2, 88))
    (sector,) = [s for s in missing_sectors(coverage) if s.elevation_deg == 10]
    assert sector.start_deg == pytest.approx(57, abs=10)
    assert sector.start_deg + sector.width_deg == pytest.approx(123, abs=10)
    assert sector.photos == 4  # 66 degrees in steps of 15 at most
    told = [t for t in advise(coverage, usable=42) if "by 10 degrees" in t]
    assert told == [
        "4 photos between IMG_0003 and IMG_0004, walking to your right from the first, "
        "camera looking down at it by 10 degrees."
    ]


def test_a_ring_asks_for_higher_rings_and_the_gap_is_straight_above() -> None:
    coverage = coverage_of(ring(24, 10))
    assert coverage.gap.radius_deg == pytest.approx(80, abs=0.1)
    assert gap_words(coverage).startswith("160 degrees across, straight above (the nearest photo is 80 degrees away)")
    told = advise(coverage, usable=24)
    assert told == ["a ring of 12 photos all around, camera looking down at it by 60 degrees."]


def test_what_is_asked_for_fills_all_gaps_and_no_two_ask_for_one() -> None:
    for cameras in (
        ring(24, 10),
        ring(5, 20),
        ring(12, 15, arc=180),
        ring(3, 50, arc=30),
        [*ring(9, 0), *ring(9, -70)],
    ):
        coverage = coverage_of(cameras)
        sectors = missing_sectors(coverage)
        filled = coverage_of([*cameras, *(d for s in sectors for d in s.directions())])
        assert missing_sectors(filled) == [] and sectors
        assert filled.gap.radius_deg < 35  # between rings, and below the lowest
        assert sum(s.photos for s in sectors) < 80


def test_photos_from_below_are_expected_only_where_there_are_some() -> None:
    assert coverage_of([*ring(20, 10), *ring(20, -30)]).lowest_deg == pytest.approx(-30)
    assert coverage_of([*ring(20, 10), *ring(20, -70)]).lowest_deg == -90
    assert coverage_of([*ring(40, 10), direction(0, -30)]).lowest_deg == 0


def test_coverage_is_the_same_seen_from_a_turned_front() -> None:
    cameras = ring(9, 20) + ring(7, 50, start=13)
    turned = [
        np.array([math.cos(1) * x + math.sin(1) * z, y, math.cos(1) * z - math.sin(1) * x]) for x, y, z in cameras
    ]
    first, second = coverage_of(cameras), coverage_of(turned)
    assert first.share == pytest.approx(second.share, abs=0.01)
    assert first.gap.radius_deg == pytest.approx(second.gap.radius_deg, abs=0.01)


def test_the_picture_shows_photos_where_they_are_and_what_they_cover(tmp_path: Path) -> None:
    """Equal-area: r = sqrt(1 - sin(elevation)) of the disc's radius; the front is at the bottom."""
    draw_coverage(coverage_of([direction(0, 30), direction(90, 30), direction(180, 30)]), tmp_path / "c.png")
    pixels = read_image(tmp_path / "c.png").astype(int)
    disc = np.argwhere((np.abs(pixels - EMPTY).sum(-1) < 6) | (np.abs(pixels - NEAR).sum(-1) < 6))
    disc = disc[disc[:, 0] < pixels.shape[0] - 150]  # without the legend
    (top, left), (bottom, right) = disc.min(0), disc.max(0)
    middle, radius = np.array([(top + bottom) / 2, (left + right) / 2]), (right - left) / 2
    r = radius * math.sqrt(0.5)  # rim lines make the middle good to two pixels

    def at(down: float, across: float) -> list[list[int]]:
        row, column = np.rint(middle + np.array([down, across])).astype(int)
        return pixels[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).tolist()

    assert all(list(CAMERA) in at(*place) for place in ((r, 0), (0, r), (-r, 0)))
    assert list(EMPTY) in at(3, -r) and list(CAMERA) not in at(3, -r)
    assert list(NEAR) in at(r + 30, 30) and list(SEEN) in pixels.reshape(-1, 3).tolist()


def test_both_halves_are_drawn_where_photos_look_from_below(tmp_path: Path) -> None:
    for below, name in ((10, "one"), (-40, "two")):
        draw_coverage(coverage_of([*ring(12, 10), *ring(12, below, start=15)]), tmp_path / f"{name}.png")
    one, two = (image_size(tmp_path / f"{name}.png")[0] for name in ("one", "two"))
    assert two > 1.8 * one


def verdict(name: str, *, used: bool = True, reason: str = "", **figures: tuple[float, float]) -> Verdict:
    return Verdict(
        name=name,
        used=used,
        reason=reason,
        figures={k: v for k, (v, _) in figures.items()},
        limits={k: limit for k, (_, limit) in figures.items()},
    )


def test_verdicts_are_counted_by_flaw_and_told_by_name() -> None:
    photo = Photo(name="a.jpg", image_path=Path("a"), mask_path=None, width=1, height=1, focal_px=None, camera_label="")
    verdicts = (
        verdict("a.jpg", blur_px=(0.9, 2.0), overexposed_share=(0.3, 0.6), reason="30 % of its middle are clipped"),
        verdict("b.jpg", used=False, reason="blurred: edges are smeared by 4.2 px, limit 2.0", blur_px=(4.2, 2.0)),
        verdict("c.jpg", used=False, reason="over-exposed", overexposed_share=(0.7, 0.6)),
    )
    report = report_photos(Photos(photos=(photo,), poses_path=None, verdicts=verdicts))
    assert report.lines(8) == [
        "photos      1 of 3 usable; 1 blurred, 1 over-exposed",
        "left out    b.jpg: blurred: edges are smeared by 4.2 px, limit 2.0",
        "left out    c.jpg: over-exposed",
        "take care   a.jpg: 30 % of its middle are clipped",
    ]
    assert report.lines(1)[2].endswith("and 1 more, in check.json")
    assert report.record()["flaws"] == {"blurred": ["b.jpg"], "over-exposed": ["c.jpg"], "under-exposed": []}
    silent = report_photos(Photos(photos=(photo,), poses_path=None))
    assert silent.lines(8) == ["photos      1 of 1 usable"]


@pytest.fixture
def kept_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)


@pytest.mark.usefixtures("kept_signals")
def test_the_command_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images, out = write_tiny_capture(tmp_path / "ball"), tmp_path / "out"
    for _ in range(2):  # a second check re-uses the stages
        assert cli.main(["check", "--images", str(images), "--out", str(out)]) == 0
        told = capsys.readouterr().out
        report = json.loads((out / "check.json").read_text())
        assert report["reconstructable"] and report["posed"] == report["photos"]["usable"] == 10
        assert report["cut_by_frame"] == [] and len(report["coverage"]["views"]) == 10
        # rings at elevations of 0.25 and 0.7 rad: the nearest photo is pi / 2 - 0.7 = 49.9 degrees from the top
        assert report["widest_gap"]["nearest_photo_deg"] == pytest.approx(49.9, abs=0.3)
        assert "posed       10 of 10" in told and f"shoot next  {report['shoot_next'][0]}" in told
        assert image_size(out / "coverage.png")[0] > 500
    assert "re-used" in told


@pytest.mark.usefixtures("kept_signals")
def test_photos_that_make_no_capture_end_with_code_4_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    for k in range(4):
        picture(k, 160, 120).save(tmp_path / "photos" / f"{k}.png")
    out = tmp_path / "out"
    assert cli.main(["check", "--images", str(tmp_path / "photos"), "--out", str(out), "--quiet"]) == 4
    report = json.loads((out / "check.json").read_text())
    assert not report["reconstructable"] and report["photos"]["usable"] == 4
    assert report["reason"] in capsys.readouterr().err and not (out / "coverage.png").exists()


@pytest.mark.usefixtures("kept_signals")
def test_wrong_usage_of_check_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["check", "--images", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    two = write_photos(tmp_path / "two", "a.jpg", "b.jpg")
    assert cli.main(["check", "--images", str(two), "--out", str(tmp_path / "o")]) == 3
    assert "at least 3 needed" in capsys.readouterr().err
