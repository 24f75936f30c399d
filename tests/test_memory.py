"""The memory plan: what fits stays as it is, what does not is lowered where it counts, or refused with numbers."""

import dataclasses
import re
from pathlib import Path

import pytest
from PIL import Image

from pipeline import config, memory
from pipeline.config import RunConfig
from pipeline.discovery import Inputs, discover
from pipeline.errors import ResourceError, UsageError
from pipeline.memory import GIB, Load, needs, plan, survey
from pipeline.progress import Reporter
from pipeline.run import run
from tests.stage_context import write_photos

LARGE = Load(photos=48, stored_px=24_000_000, largest_px=24_000_000, total_px=48 * 24_000_000)
SMALL = Load(photos=48, stored_px=512**2, largest_px=512**2, total_px=48 * 512**2)


def settings(*words: str, threads: int = 2) -> RunConfig:
    return config.load([f"runtime.threads={threads}", *words])


def test_photos_of_24_megapixels_fit_into_8_gib_at_every_quality() -> None:
    for quality in ("draft", "standard", "final"):
        wanted = settings(f"quality={quality}", "runtime.max_memory=8GiB")
        assert max(needs(plan(wanted, LARGE).config, LARGE).values()) <= 8 * GIB
    draft = settings("quality=draft", "runtime.max_memory=8GiB")
    assert plan(draft, LARGE).config == draft  # as it is


def test_moving_the_surface_of_a_fine_grid_is_planned_for() -> None:
    without, moved = (
        needs(settings("quality=final", f"geometry.dmtet_steps={steps}"), SMALL)["geometry"] for steps in (0, 9)
    )
    assert moved > without + GIB  # 64 bytes of material, gradient and moments at each of 257 x 257 x 257 points


def test_what_would_not_help_is_not_lowered() -> None:
    """The photos that are drawn, not those that stereo compares, are what this stage has no room for."""
    wanted = settings("geometry.dmtet_steps=9", "geometry.joint_px=4096", "runtime.max_memory=6GiB")
    planned = plan(wanted, SMALL).config.geometry
    assert planned.stereo_px == wanted.geometry.stereo_px
    assert planned.joint_px < wanted.geometry.joint_px


def test_what_does_not_fit_is_lowered_and_told() -> None:
    wanted = settings("runtime.max_memory=4GiB")
    planned = plan(wanted, LARGE)
    lowered = planned.config.appearance.max_pixels
    assert lowered < wanted.appearance.max_pixels and wanted.appearance.max_pixels % lowered == 0
    assert f"appearance.max_pixels=12000000 lowered to {lowered}" in planned.line
    need = max(needs(planned.config, LARGE).values())
    assert need <= 4 * GIB
    assert re.match(rf"memory +{need / GIB:.1f} of 4.0 GiB \(\w+\), ", planned.line)


def test_less_memory_never_means_larger_settings() -> None:
    before = plan(settings("quality=final", "runtime.max_memory=64GiB"), LARGE).config
    for gib in (16, 8, 6, 5, 4):
        after = plan(settings("quality=final", f"runtime.max_memory={gib}GiB"), LARGE).config
        for section, key in (("appearance", "max_pixels"), ("appearance", "texture_px"), ("runtime", "threads")):
            assert getattr(getattr(after, section), key) <= getattr(getattr(before, section), key)
        before = after


@pytest.mark.parametrize(
    "change",
    [
        {"stored_px": 2 * 24_000_000},
        {"largest_px": 2 * 24_000_000},
        {"total_px": 2 * LARGE.total_px, "photos": 96},
        {"vertices": 2_000_000},
        {"masked": False},
        {"posed": False},
    ],
)
def test_more_to_carry_needs_more(change: dict[str, int]) -> None:
    few = settings("appearance.max_pixels=2000000000")
    more = needs(few, dataclasses.replace(LARGE, **change))
    assert all(more[stage] >= need for stage, need in needs(few, LARGE).items())
    assert any(more[stage] > need for stage, need in needs(few, LARGE).items())


def test_too_little_is_refused_with_numbers_and_a_remedy() -> None:
    with pytest.raises(ResourceError) as caught:
        plan(settings("runtime.max_memory=1GiB"), LARGE)
    told = str(caught.value)
    found = re.search(
        r"48 photos of up to 24 megapixels need at least ([\d.]+) GiB of memory \(\w+\), 1.0 GiB are", told
    )
    assert found and float(found[1]) > 1 and "raise runtime.max_memory" in told
    assert plan(settings("runtime.max_memory=3GiB"), SMALL)


@pytest.mark.parametrize(("text", "size"), [("6GiB", 6 * 2**30), ("6GB", 6 * 10**9), ("2.5 G", 25 * 10**8)])
def test_amounts_are_read_as_people_write_them(text: str, size: int) -> None:
    assert plan(settings(f"runtime.max_memory='{text}'"), SMALL).line.split(" of ")[1].startswith(f"{size / GIB:.1f} ")


@pytest.mark.parametrize("text", ["much", "6", "-1GiB", "GiB", ""])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match='neither "auto" nor an amount as "6GiB"'):
        settings(f"runtime.max_memory='{text}'")


def test_auto_takes_what_the_machine_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < memory.available_bytes() < 2**50
    monkeypatch.setattr(memory, "available_bytes", lambda: 5 * GIB)
    assert " of 4.8 GiB " in plan(settings(), SMALL).line


def test_sizes_are_those_of_the_headers_after_shrinking(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", "a.jpg", "b.png")
    Image.new("RGB", (600, 200)).save(tmp_path / "photos" / "wide.png")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    source = discover(Inputs(images=(tmp_path / "photos",)))
    load = survey(source, settings("ingest.max_image_px=256"), vertices=7)
    assert load == Load(
        photos=4,
        stored_px=memory.UNREAD_PX,
        largest_px=memory.UNREAD_PX,
        total_px=2 * 40 * 30 + 600 * 200 // 9 + memory.UNREAD_PX,
        vertices=7,
        masked=False,
        posed=False,
    )


def test_a_run_is_refused_before_it_writes_anything(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    wanted = settings("runtime.max_memory=100MB")
    with pytest.raises(ResourceError, match="GiB of memory"):
        inputs = Inputs(images=(tmp_path / "photos",))
        run(wanted, inputs=inputs, out=tmp_path / "run", reporter=Reporter(quiet=True))
    assert not (tmp_path / "run").exists()
