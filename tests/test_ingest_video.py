"""Photos out of videos: which frames are taken, and what happens to files that are no videos."""

import json

import cv2
import numpy as np
import pytest

from pipeline.config import IngestConfig
from pipeline.discovery import Inputs, discover
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.video_reader import VideoReader
from pipeline.stages import ingest as ingest_stage
from pipeline.stages.ingest_video import Look, choose, extract_frames, look_through, pick
from tests.stage_context import make_context

SIZE = (240, 160)
WIDTH = SIZE[0]


def quiet(*_):
    return None


@pytest.fixture(scope="module")
def scenery():
    rough = np.random.default_rng(0).integers(0, 256, (200, 1500, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(rough, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def film(path, scenery, offsets, blurred=(), codec="mp4v"):
    """A camera that pans over the scenery: the left edge of each frame; some frames smeared, all noisy."""
    rng = np.random.default_rng(1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 30, SIZE)
    for index, offset in enumerate(offsets):
        frame = scenery[20 : 20 + SIZE[1], round(offset) : round(offset) + WIDTH]
        frame = cv2.GaussianBlur(frame, (0, 0), 3) if index in blurred else frame
        writer.write(np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def pan(scenery, tmp_path_factory):
    """A pan of 400 px, 30 frames of standing still, and a slower pan of 400 px; two of three frames are blurred."""
    offsets = [*np.linspace(0, 400, 30), *np.full(30, 400.0), *np.linspace(400, 800, 60)]
    blurred = {k for k in range(120) if k % 3}
    return film(tmp_path_factory.mktemp("film") / "pan.mp4", scenery, offsets, blurred), offsets, blurred


def test_the_way_is_measured_and_standing_still_adds_none(pan):
    """In pixels of a picture 320 px wide; smaller ones are not enlarged, so here in their own."""
    path, offsets, _ = pan
    looks = look_through(path, path, 20, quiet)
    assert [look.index for look in looks] == list(range(120))
    assert looks[50].time_s == pytest.approx(50 / 30, abs=0.04)
    way = np.array([look.way_px for look in looks])
    assert np.abs(way - offsets).max() < 0.02 * 800
    assert np.ptp(way[30:60]) < 0.5


def test_frames_are_sharp_at_an_even_baseline_and_never_doubled(pan, tmp_path):
    path, offsets, blurred = pan
    frames = extract_frames(path, tmp_path / "out", count=8, timeout_s=120.0, progress=quiet)
    indices = [int(frame.stem.rpartition("_")[2]) for frame in frames]
    assert (
        [frame.name for frame in frames]
        == [f"pan_{index:06d}.jpg" for index in indices]
        == sorted(frame.name for frame in frames)
    )
    assert len(frames) == 8 and not blurred & set(indices)
    steps = np.diff([offsets[index] for index in indices])
    assert steps.min() > 100 / 3 - 2 and steps.max() < 100 * 5 / 3 + 2  # from the middle two thirds of 100 px each
    assert images.read_image(frames[0]).shape == (160, 240, 3)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*(f.name for f in frames), "decode.log"])


def test_a_still_video_is_one_photo_and_a_short_way_is_few(scenery, tmp_path):
    still = film(tmp_path / "still.mp4", scenery, np.zeros(20))
    assert len(choose(look_through(still, still, 10, quiet), 10)) == 1
    short = film(tmp_path / "short.mp4", scenery, np.linspace(0, 9, 20))
    assert 2 <= len(choose(look_through(short, short, 10, quiet), 10)) <= 4


def test_of_each_piece_the_sharpest_from_its_middle_is_taken():
    looks = [Look(index=k, time_s=k / 30, way_px=10.0 * k, sharpness=float(k % 5 == 2)) for k in range(20)]
    assert [look.index for look in choose(looks, 4)] == [2, 7, 12, 17]
    assert [look.index for look in choose(looks[:1], 4)] == [0]


def test_long_videos_are_looked_at_in_strides(scenery, tmp_path):
    path = film(tmp_path / "long.mp4", scenery, np.linspace(0, 800, 200))
    assert [look.index for look in look_through(path, path, 1, quiet)] == list(range(0, 200, 4))


@pytest.mark.parametrize(("degrees", "matrix"), [(90, (0, 1, -1, 0)), (270, (0, -1, 1, 0))])
def test_frames_are_turned_as_the_file_says(scenery, tmp_path, degrees, matrix):
    """The track header's matrix (ISO/IEC 14496-12, 8.3.2), as phones write it when they are held upright."""
    path = film(tmp_path / "turned.mp4", scenery, np.zeros(3))
    with VideoReader(path, told=path) as video:
        stored = next(iter(video)).decode()
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version, dates, number, length, layer, volume
    a, b, c, d = (value * 65536 for value in matrix)
    for k, value in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        data[at + 4 * k : at + 4 * k + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    with VideoReader(path, told=path) as video:
        turned = next(iter(video)).decode()
    assert turned.shape == (240, 160, 3)
    assert np.array_equal(turned, np.rot90(stored, -1 if degrees == 90 else 1))


def test_a_name_that_is_not_utf8_works(scenery, tmp_path):
    film(tmp_path / "plain.mp4", scenery, np.linspace(0, 60, 5))
    odd = tmp_path / "a\udcff b.mp4"
    (tmp_path / "plain.mp4").rename(odd)
    assert pick({"path": str(odd), "folder": str(tmp_path), "count": 3}, quiet)["frames"]


def test_what_is_no_video_is_told(scenery, tmp_path):
    whole = film(tmp_path / "whole.mp4", scenery, np.linspace(0, 100, 20)).read_bytes()
    contents = {
        "cut.mp4": (whole[: len(whole) // 2], "truncated"),
        "empty.mp4": (b"", "empty"),
        "text.mp4": (b"#EXTM3U\n/etc/passwd\n", r"not a video \(text\)"),
        "concat.mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", r"not a video \(text\)"),
        "page.mov": (b"<!doctype html><html>", r"not a video \(text/html\)"),
        "noise.mkv": (b"\x1a\x45\xdf\xa3" + np.random.default_rng(0).bytes(5000), "holds no video"),
        "sound.mp4": (sound(), "holds no video"),
        "photo.avi": (b"\xff\xd8\xff\xe0" + bytes(100), "not a video"),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=reason) as caught:
            pick({"path": str(tmp_path / name), "folder": str(tmp_path), "count": 3}, quiet)
        assert caught.value.path == tmp_path / name, name
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="a folder, not a file"):
        pick({"path": str(tmp_path / "folder.mp4"), "folder": str(tmp_path), "count": 3}, quiet)


def sound():
    """An AVI file with an audio stream's header and no picture."""

    def chunk(kind, body):
        return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)

    wave = b"\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0"
    stream = b"auds" + bytes(16) + (1).to_bytes(4, "little") + (8000).to_bytes(4, "little") + bytes(28)
    track = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", wave))
    head = chunk(b"avih", bytes(24) + (1).to_bytes(4, "little") + bytes(28))
    body = chunk(b"LIST", b"hdrl" + head + track) + chunk(b"LIST", b"movi" + chunk(b"00wb", bytes(8000)))
    return chunk(b"RIFF", b"AVI " + body)


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_damaged_videos_give_frames_or_an_input_error(scenery, tmp_path, suffix):
    whole = film(tmp_path / f"a.{suffix}", scenery, np.linspace(0, 60, 6)).read_bytes()
    rng, path, refused = np.random.default_rng(2), tmp_path / f"b.{suffix}", 0
    for trial in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, len(data) if trial % 2 else 400, 12):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if trial % 4 == 0 else data)
        try:
            look_through(path, path, 3, quiet)
        except InputError:
            refused += 1
    assert refused > 3


def test_videos_become_photos_of_the_capture(pan, tmp_path):
    """A folder with a video alone, and --video: the frames flow through ingest like photos, a pass each."""
    path, _, _ = pan
    source = discover(Inputs(images=(path.parent,), videos=(path,)))
    assert [(video.path, video.light_index) for video in source.videos] == [(path, 0), (path, 1)]
    context, _ = make_context(tmp_path)
    photos = ingest_stage.ingest(discover(Inputs(images=(), videos=(path,))), IngestConfig(video_frames=6), context)
    assert len(photos.photos) == 6
    assert all(p.name.startswith("pan_") and p.image_path.suffix == ".jpg" for p in photos.photos)
    assert {(p.width, p.height, p.light_index) for p in photos.photos} == {(240, 160, 0)}
    manifest = json.loads(next(context.folder.glob("manifest*.json")).read_text())
    entries = manifest["photos"] if isinstance(manifest, dict) else manifest
    assert {e["path"] for e in entries} == {str(path)} and all(e["sha256"] for e in entries)


def test_a_video_beside_photos_is_not_read_but_told(pan, tmp_path):
    path, _, _ = pan
    rng = np.random.default_rng(0)
    for k in range(3):
        images.write_png(tmp_path / f"{k}.png", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "clip.mp4").write_bytes(path.read_bytes())
    source = discover(Inputs(images=(tmp_path,)))
    assert source.videos == () and source.ignored == ("clip.mp4",)
    other = discover(Inputs(images=(tmp_path,), videos=(path,)))
    assert other.key() != source.key() and other.videos[0].light_index == 1
