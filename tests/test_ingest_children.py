"""A photo that crashes, hangs or outgrows its decoder costs only itself; limits hold before anything is decoded."""

import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import NativeCrashError
from pipeline.stages.ingest_children import Crew
from tests.ingest_runs import ingest
from tests.stage_context import picture, write_photos


def crew(folder: Path, *, children: int = 1, target: str = "tests.ingest_targets:obey") -> Crew:
    return Crew(target=target, folder=folder, timeout_s=0.5, memory_mib=300, children=children)


def orders(*what: str) -> list[dict]:
    return [{"index": i, "name": f"{i}.jpg", "do": do, "mib": 1000} for i, do in enumerate(what)]


def test_what_kills_a_child_costs_only_itself(tmp_path: Path) -> None:
    items = orders("stand", "crash", "spin", "hog", "be killed", "refuse", "wait", "sit")
    told = []
    start = time.monotonic()
    records = crew(tmp_path).work(items, lambda share, note: told.append((share, note)))
    assert time.monotonic() - start < 60
    assert records[0]["did"] == "stand" and records[7]["did"] == "sit"
    assert {i: r["refused"] for i, r in records.items() if "refused" in r} == {
        1: "kills its decoder (SIGABRT)",
        2: "takes longer than 0.5 s to decode",
        3: "needs more than 300 MiB of memory to decode",
        4: "kills its decoder (SIGKILL, as the system does when memory runs out)",
        5: "is a cat (photograph the object)",
        6: "keeps its decoder waiting for more than 5 s",
    }
    assert [note for _, note in told] == [item["name"] for item in items]
    assert all(0 <= share <= 1 for share, _ in told)


def test_children_share_the_work_and_take_up_an_interrupted_one(tmp_path: Path) -> None:
    items = orders("stand", "sit", "walk", "crash", "run")
    first = crew(tmp_path, children=2).work(items[:3], lambda share, note: None)
    with (tmp_path / "obey.0.jsonl").open("a") as records_of_the_killed_run:
        records_of_the_killed_run.write('{"index": 4, "did": "half a li')
    told = []
    records = crew(tmp_path, children=2).work(items, lambda share, note: told.append(note))
    assert {i: records[i] for i in range(3)} == first
    assert sorted(told) == ["3.jpg", "4.jpg"]
    assert records[4]["did"] == "run" and "SIGABRT" in records[3]["refused"]


def test_a_child_that_cannot_start_is_not_blamed_on_a_photo(tmp_path: Path) -> None:
    with pytest.raises(NativeCrashError, match="SIGABRT"):
        crew(tmp_path, target="tests.ingest_targets:dead_on_arrival").work(orders("stand"), lambda share, note: None)


def bomb(path: Path, side_px: int) -> None:
    """A PNG of one colour that promises `side_px` squared pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + -(-side_px // 8))
    data = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """1,600 megapixels in 195 KB: under 200 MB, and within a second of which most is Python's start."""
    bomb(tmp_path / "bomb.png", 40_000)
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    limits = {"max_bytes": 2**31, "max_pixels": 250_000_000, "max_frames": 100}
    item = {"index": 0, "name": "bomb.png", "path": str(tmp_path / "bomb.png"), "mask_path": None, "limits": limits}
    target = "tests.ingest_targets:survey_and_measure"
    surveyor = Crew(target=target, folder=tmp_path, timeout_s=1.0, memory_mib=160, children=1)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    records = surveyor.work([item], lambda share, note: None)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - start.ru_utime - start.ru_stime
    assert records[0]["refused"] == "40000 x 40000 = 1,600 megapixels, limit 250"
    assert cpu_s < 1.0  # of the child, whatever else the machine does
    assert int((tmp_path / "rss").read_text()) < 200_000 and (tmp_path / "modules").read_text() == "False"


def test_limits_and_casualties_in_a_whole_ingest(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg")
    bomb(images / "bomb.png", 20_000)
    (images / "fat.jpg").write_bytes(b"\xff\xd8" + bytes(1_200_000))
    picture(5, 30, 20).save(images / "small.png")
    frames = [picture(k) for k in range(6)]
    frames[0].save(images / "film.tif", save_all=True, append_images=frames[1:])
    photos, warnings = ingest(images, max_file_mib=1, max_frames=4)
    assert [p.name for p in photos.photos] == ["a.jpg", "b.jpg"]
    told = {v.name: v.reason for v in photos.verdicts if not v.used}
    assert told["bomb.png"] == "20000 x 20000 = 400 megapixels, limit 250"
    assert told["fat.jpg"].startswith("1 MiB exceed the limit of 1")
    assert told["small.png"] == "too small: 30x20 px, at least 32 px on the long side needed"
    assert told["film.tif"] == "more than 4 frames (a film is read with --video; else save one frame)"
    assert len(warnings) == 4 and all(any(name in w for w in warnings) for name in told)


def scan_bomb(path: Path, scans: int) -> None:
    """A progressive JPEG that refines itself over and over: each scan is small, and costs a pass over all pixels."""
    Image.new("L", (4000, 4000), 90).save(path, progressive=True, quality=90)
    data = path.read_bytes()
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    last = data[starts[-1] : data.rindex(b"\xff\xd9")]
    path.write_bytes(data[: starts[-1]] + last * scans + b"\xff\xd9")


def test_a_progressive_bomb_runs_into_the_limit_of_time(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg")
    scan_bomb(images / "bomb.jpg", 85)  # so few that their number is no reason to refuse it
    assert (images / "bomb.jpg").stat().st_size < 2**20
    photos, warnings = ingest(images, decode_timeout_s=0.7)
    assert [p.name for p in photos.photos] == ["a.jpg", "b.jpg"]
    assert len(warnings) == 1 and "bomb.jpg: takes longer than 0.7 s to decode" in warnings[0]


def test_a_large_photo_is_scaled_down_within_the_memory_limit(tmp_path: Path) -> None:
    """What a 200 MP phone photo meets, at a twentieth of its size."""
    images = write_photos(tmp_path / "in", "a.png", "b.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (2000, 3000, 3), np.uint8)).save(images / "large.jpg", quality=95)
    (images / "transforms.json").write_text("{}")  # with poses, photos of unlike sizes are no mistake
    photos, _ = ingest(images, max_image_px=1500)
    assert [p.name for p in photos.photos] == ["a.png", "b.png", "large.jpg"]
    large = photos.photos[-1]
    assert (large.width, large.height) == (1500, 1000)
    verdict = {v.name: v for v in photos.verdicts}["large.jpg"]
    assert verdict.used and "scaled down from 3000x2000 to 1500x1000" in verdict.reason
