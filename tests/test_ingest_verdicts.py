"""Each photo gets a verdict: blur, exposure and doubles are told from what a good capture varies in anyway."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CaptureError, InputError
from pipeline.stages.ingest_duplicates import near_duplicates
from pipeline.stages.ingest_measures import blur_px, small_grey, thumbnail
from tests.ingest_runs import ingest, no_children

__all__ = ["no_children"]
in_process = pytest.mark.usefixtures("no_children")


def scene(seed: int, width: int = 480, height: int = 360) -> np.ndarray:
    """Sharp-edged shapes of all sizes: what a textured object on a table looks like to a corner detector."""
    rng = np.random.default_rng(seed)
    image = np.full((height * 2, width * 2, 3), 110, np.uint8)
    for _ in range(500):
        x, y = (int(v) for v in rng.integers(0, (width * 2, height * 2)))
        size = int(rng.exponential(25)) + 4
        color = tuple(int(c) for c in rng.integers(30, 220, 3))
        box = cv2.boxPoints(((x, y), (size, size * rng.uniform(0.5, 2)), rng.uniform(0, 180)))
        cv2.fillPoly(image, [box.astype(np.int32)], color)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def views(count: int) -> list[np.ndarray]:
    """Photos along one scene: each shows most of what the one before it showed."""
    wide = scene(1, 480 + 100 * (count - 1))
    return [wide[:, 100 * k : 100 * k + 480] for k in range(count)]


def plain_scene(seed: int) -> np.ndarray:
    """One smooth-shaded ball before an empty wall: sharp, but with little to show it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:720, :960]
    distance = np.hypot(x - 480 - rng.uniform(-60, 60), y - 360) / 220
    ball = 200 * np.sqrt(np.clip(1 - distance**2, 0, 1)) + 20
    image = np.where(distance < 1, ball, 150)[..., None] * np.array([1.0, 0.9, 0.8])
    small = cv2.resize(image.astype(np.float32), (480, 360), interpolation=cv2.INTER_AREA)
    return np.clip(small + rng.normal(0, 2, small.shape), 0, 255).astype(np.uint8)


def shaken(image: np.ndarray, length_px: int, angle: float) -> np.ndarray:
    kernel = np.zeros((length_px, length_px), np.float32)
    centre, reach = length_px // 2, length_px // 2
    dx, dy = round(reach * np.cos(angle)), round(reach * np.sin(angle))
    cv2.line(kernel, (centre - dx, centre - dy), (centre + dx, centre + dy), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def save(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name, quality=92)
    return folder


def blur_of(image: np.ndarray) -> float:
    return blur_px(small_grey(image, 1024))


@pytest.mark.parametrize("deviation", [1.0, 2.0, 3.0, 5.0])
def test_blur_of_a_step_is_the_deviation_of_what_smeared_it(deviation: float) -> None:
    steps = np.zeros((300, 300), np.float32)
    steps[:, 150:] = 120
    steps[150:] += 60
    measured = blur_px(cv2.GaussianBlur(steps + 20, (0, 0), deviation))
    assert measured == pytest.approx(deviation, rel=0.1)  # corners count as edges, too


@pytest.mark.parametrize("seed", range(3))
def test_blur_grows_with_defocus_and_with_shake_in_any_direction(seed: int) -> None:
    sharp = scene(seed)
    defocused = [blur_of(cv2.GaussianBlur(sharp, (0, 0), d)) for d in (1, 2, 3, 5)]
    assert blur_of(sharp) < 0.8 < defocused[0] and defocused == sorted(defocused) and defocused[2] > 2.0
    assert min(blur_of(shaken(sharp, 15, angle)) for angle in (0.0, 0.6, 1.2, 2.0)) > 2.0
    noisy = np.random.default_rng(seed).normal(0, 4, sharp.shape) + cv2.GaussianBlur(sharp, (0, 0), 5)
    assert blur_of(np.clip(noisy, 0, 255).astype(np.uint8)) > 2.0  # noise is no sharpness


def test_sharp_but_plain_photos_are_not_called_blurred() -> None:
    assert all(blur_of(plain_scene(seed)) < 1.0 for seed in range(4))
    assert np.isnan(blur_of(np.full((200, 300, 3), 120, np.uint8)))


@in_process
def test_blurred_photos_are_left_out_worst_first_and_less_sharp_ones_told(tmp_path: Path) -> None:
    *sharp, soft, bad, worst = views(9)
    pictures = {f"{k}.jpg": picture for k, picture in enumerate(sharp)}
    pictures["soft.jpg"] = cv2.GaussianBlur(soft, (0, 0), 1.8)
    pictures["bad.jpg"] = cv2.GaussianBlur(bad, (0, 0), 3.5)
    pictures["worst.jpg"] = cv2.GaussianBlur(worst, (0, 0), 6)
    photos, warnings = ingest(save(tmp_path / "in", pictures))
    left_out, doubtful = warnings
    assert left_out.startswith("left out, blurred (edges smeared by more than 2.0 px), worst first: worst.jpg (")
    assert left_out.index("worst.jpg") < left_out.index("bad.jpg") and "soft.jpg" not in left_out
    assert doubtful.startswith("1 photos are less sharp than the others, worst first: soft.jpg (1.")
    assert [p.name for p in photos.photos] == [*(f"{k}.jpg" for k in range(6)), "soft.jpg"]
    verdict = {v.name: v for v in photos.verdicts}["bad.jpg"]
    assert not verdict.used and verdict.figures["blur_px"] > verdict.limits["blur_px"] == 2.0
    assert "blurred: edges are smeared by" in verdict.reason


@in_process
def test_a_capture_of_blurred_photos_is_none(tmp_path: Path) -> None:
    images = save(tmp_path / "in", {f"{k}.jpg": cv2.GaussianBlur(scene(k), (0, 0), 6) for k in range(4)})
    with pytest.raises(
        CaptureError, match=r"0 of 4 photos usable, .* 4 are blurred, .* worst first: \d\.jpg"
    ) as caught:
        ingest(images)
    assert caught.value.exit_code == 4 and "tripod" in str(caught.value)
    verdicts = json.loads((tmp_path / "in.ingest" / "verdicts.json").read_text())
    assert [v["used"] for v in verdicts] == [False] * 4


@in_process
def test_photos_that_show_nothing_are_left_out_by_name_and_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = {f"{k}.png": scene(k) for k in range(3)}
    pictures["black.png"] = np.zeros((360, 480, 3), np.uint8)
    pictures["cap.png"] = rng.integers(0, 18, (360, 480, 3)).astype(np.uint8)  # a lens cap and the sensor's noise
    pictures["white.png"] = np.full((360, 480, 3), 255, np.uint8)
    burnt = np.minimum(scene(5).astype(int) * 8, 255).astype(np.uint8)
    burnt[:60] = scene(6)[:60]  # what is left of the scene at the rim does not save the photo
    pictures["burnt.png"] = burnt
    half = scene(7)
    half[:, 170:290] = 255
    pictures["half.png"] = half
    photos, warnings = ingest(save(tmp_path / "in", pictures))
    assert [p.name for p in photos.photos] == ["0.png", "1.png", "2.png", "half.png"]
    told = {v.name: v.reason for v in photos.verdicts}
    assert (
        told["black.png"] == "shows nothing, black as under a lens cap: 99 % of it are darker than 0 of 255, limit 24"
    )
    assert "black as under a lens cap" in told["cap.png"] and "white: 99 % of it are brighter" in told["white.png"]
    assert told["burnt.png"].startswith("over-exposed: ") and told["burnt.png"].endswith("clipped, limit 90%")
    assert told["half.png"].startswith("4") and "of its middle are clipped" in told["half.png"]
    assert all(any(name in w for w in warnings) for name in ("black", "cap", "white", "burnt", "half"))


@in_process
def test_copies_are_told_by_the_file_and_by_the_pixels(tmp_path: Path) -> None:
    images = save(tmp_path / "in", {"a.png": scene(0)})
    for name in ("b.png", "c.png"):
        (images / name).write_bytes((images / "a.png").read_bytes())
    Image.fromarray(scene(0)).save(images / "d.png", compress_level=1)
    with pytest.raises(InputError, match=r"1 unique of 4 photos, at least 2 needed: b\.png is the same picture as a"):
        ingest(images)


def burst(image: np.ndarray, seed: int) -> np.ndarray:
    """The next photo of a hand-held burst: a little shift, roll and noise."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-0.3, 0.3), 1.0)
    move[:, 2] += rng.uniform(-0.01, 0.01, 2) * width
    moved = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.clip(moved * rng.uniform(0.95, 1.05) + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@in_process
def test_of_a_burst_the_sharpest_stays_unless_poses_were_given(tmp_path: Path) -> None:
    pictures = {f"{k}.png": scene(k) for k in range(3)}
    pictures |= {f"burst{k}.png": burst(scene(9), k) for k in range(3)}
    pictures["burst1.png"] = cv2.GaussianBlur(pictures["burst1.png"], (0, 0), 0.8)
    images = save(tmp_path / "in", pictures)
    photos, warnings = ingest(images)
    kept = [p.name for p in photos.photos]
    assert len(kept) == 4 and "burst1.png" not in kept
    assert warnings[0].startswith("2 near duplicates left out, 4 of 6 photos stay: burst")
    assert len(ingest(images, thin_bursts=False)[0].photos) == 6
    (images / "transforms.json").write_text("{}")
    assert len(ingest(images)[0].photos) == 6


def turntable(step_deg: float) -> list[np.ndarray]:
    """Two pictures of a textured cylinder that turned by a step, before the same textured wall."""
    wall, skin = scene(3, 512, 384), scene(4, 1024, 384)
    height, width, radius = 384, 512, 110
    pictures = []
    for turn in (0.0, np.radians(step_deg)):
        offset = np.linspace(-0.999, 0.999, 2 * radius, dtype=np.float32)
        column = (np.arcsin(offset) + turn + np.pi) / (2 * np.pi) * skin.shape[1]
        rows = np.arange(60, height - 40, dtype=np.float32)
        map_x, map_y = np.meshgrid(column.astype(np.float32) % skin.shape[1], rows)
        picture = wall.copy()
        picture[60 : height - 40, width // 2 - radius : width // 2 + radius] = cv2.remap(
            skin, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize("step_deg", [3.0, 5.0, 10.0])
def test_a_turntables_step_is_no_burst(step_deg: float) -> None:
    thumbnails = [thumbnail(picture, None) for picture in turntable(step_deg)]
    assert near_duplicates(thumbnails, [0, 1]) == {}
    still = [thumbnail(burst(turntable(0.0)[0], k), None) for k in range(2)]
    assert near_duplicates(still, [1, 0]) == {0: 1}


@in_process
@pytest.mark.parametrize("what", ["exposure", "white balance"])
def test_changes_between_photos_are_estimated_and_told(what: str, tmp_path: Path) -> None:
    shift = [0.5, 0.5, 0.5] if what == "exposure" else [0.75, 1.0, 1.0]  # on sRGB values: 2 stops, and 0.9 in red
    pictures = {}
    for k, view in enumerate(views(12)):
        factor = np.array(shift if k % 3 == 1 else [1.0, 1.0, 1.0])
        pictures[f"{k:02d}.png"] = np.clip(view * factor, 5, 250).astype(np.uint8)
    photos, warnings = ingest(save(tmp_path / "in", pictures))
    assert len(photos.photos) == 12
    (told,) = (w for w in warnings if "exposure or white balance changes" in w)
    assert ("brightness by" if what == "exposure" else "red against green by") in told and "lock both" in told
    figures = {v.name: v.figures for v in photos.verdicts}
    name = "gain_ev" if what == "exposure" else "red_balance_ev"
    dark = np.mean([figures[f"{k:02d}.png"][name] for k in range(12) if k % 3 == 1])
    rest = np.mean([figures[f"{k:02d}.png"][name] for k in range(12) if k % 3 != 1])
    assert rest - dark == pytest.approx(2.1 if what == "exposure" else 0.85, abs=0.2)


@in_process
def test_a_steady_capture_is_told_nothing(tmp_path: Path) -> None:
    photos, warnings = ingest(save(tmp_path / "in", {f"{k:02d}.png": v for k, v in enumerate(views(12))}))
    assert len(photos.photos) == 12 and warnings == []


@pytest.mark.parametrize("name", ["real_alexander", "c_flighthelmet", "a_boombox"])
def test_real_captures_lose_no_photo(name: str, recon_data: Path, tmp_path: Path) -> None:
    """None is blurred, and no step around the object or of a turntable counts as a burst."""
    (tmp_path / name).symlink_to(recon_data / name)
    photos, _ = ingest(tmp_path / name)
    assert all(v.used for v in photos.verdicts)
