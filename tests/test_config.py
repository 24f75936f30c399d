"""Configurations compose, are checked by name, type and range, and nothing in them is executed or resolved."""

import dataclasses
from pathlib import Path

import pytest

from pipeline import config
from pipeline.config import RunConfig
from pipeline.errors import UsageError

FOLDER = config.config_folder()


def refusal(*overrides: str, file: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        config.load(list(overrides), file)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda p: p.relative_to(FOLDER).as_posix())
def test_every_shipped_file_composes(path: Path) -> None:
    group = path.parent.relative_to(FOLDER).as_posix()
    composed = config.load([] if group == "." else [f"{group}={path.stem}"])
    assert isinstance(composed, RunConfig)


def test_the_standard_quality_is_the_schema() -> None:
    assert config.load([]) == RunConfig()


def test_overrides_win_over_the_quality_wherever_they_stand() -> None:
    for words in (["quality=draft", "appearance.steps=7"], ["appearance.steps=7", "quality=draft"]):
        composed = config.load(words)
        assert (composed.appearance.steps, composed.appearance.texture_px) == (7, 512)


def test_each_quality_has_a_column_of_numbers_for_the_gpu() -> None:
    for quality in sorted(path.stem for path in (FOLDER / "quality").glob("*.yaml")):
        cpu, gpu = (config.load([f"quality={quality}", f"hardware={name}"]) for name in ("cpu", "gpu"))
        assert cpu == config.load([f"quality={quality}"])
        for section, name in (("geometry", "grid_resolution"), ("appearance", "steps"), ("appearance", "batch_px")):
            assert getattr(getattr(gpu, section), name) > getattr(getattr(cpu, section), name)
        assert gpu.unwrap.pack_px == gpu.appearance.texture_px
    standard = config.load(["hardware=gpu", "appearance.steps=7"])
    assert (standard.geometry.grid_resolution, standard.appearance.steps) == (257, 7)


def test_whole_numbers_pass_as_floats_but_not_the_other_way() -> None:
    assert config.load(["unwrap.timeout_s=60"]).unwrap.timeout_s == 60.0
    assert "appearance.steps=7.5 is not int" in refusal("appearance.steps=7.5")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("apearance.steps=3", "did you mean appearance?"),
        ("appearance.stpes=3", "unknown configuration key appearance.stpes (did you mean appearance.steps?)"),
        ("zzz=1", "known: appearance, export"),
        ("_target_=os.system", "unknown configuration key _target_"),
        ("appearance._target_=os.system", "unknown configuration key appearance._target_"),
        ("appearance=3", "a section is expected"),
        ("appearance.steps=many", "appearance.steps='many' is not int"),
        ("appearance.steps=true", "is not int"),
        ("appearance.steps=null", "is not int"),
        ("appearance.steps=[1,2]", "is not int"),
        ("appearance.steps=0", "appearance.steps=0 is outside 1 .. 1e+06"),
        ("poses.min_registered=nan", "poses.min_registered=nan is outside 0 .. 1"),
        ("unwrap.method=magic", "unwrap.method='magic' is not one of uvunwrap, xatlas"),
        ("quality=best", "quality/best"),
        ("hydra.run.dir=/tmp/x", "hydra"),
        ("hydra/launcher=basic", "hydra"),
        ("=5", "key=value"),
        ("appearance.steps=[", "key=value"),
        ("appearance.steps=1,2", "appearance.steps"),
    ],
)
def test_wrong_overrides_are_refused_by_name(override: str, told: str) -> None:
    assert told in refusal(override)


def test_a_saved_configuration_repeats_the_run(tmp_path: Path) -> None:
    first = config.load(["quality=final", "runtime.seed=5", "unwrap.timeout_s=90"])
    config.save(first, tmp_path / "config.yaml")
    assert config.load([], tmp_path / "config.yaml") == first
    assert config.load(["runtime.seed=6"], tmp_path / "config.yaml") == dataclasses.replace(
        first, runtime=dataclasses.replace(first.runtime, seed=6)
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("appearance: {_target_: os.system}", "unknown configuration key appearance._target_"),
        ("_target_: os.system", "unknown configuration key _target_"),
        ("defaults: [quality: draft]", "unknown configuration key defaults"),
        ("runtime: {device: '${oc.env:HOME}'}", "runtime.device='${oc.env:HOME}' is not one of"),
        ("appearance: {steps: '${runtime.seed}'}", "appearance.steps='${runtime.seed}' is not int"),
        ("!!python/object/apply:os.system [id]", "cannot be read"),
        ("appearance: [1, 2", "cannot be read"),
        ("[1, 2]", "config.yaml"),
        ("3", "config.yaml"),
        ("\x00", "cannot be read"),
    ],
)
def test_hostile_and_damaged_files_are_refused_unresolved(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert told in refusal(file=path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert "missing.yaml" in refusal(file=tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    assert "latin.yaml" in refusal(file=tmp_path / "latin.yaml")


def test_the_rig_is_a_group_of_its_own() -> None:
    assert config.load([]).poses.rig == "handheld"
    assert config.load(["rig=turntable", "quality=draft"]).poses.rig == "turntable"
    assert config.load(["rig=flash"]).appearance.flash
    assert not config.load([]).appearance.flash
    with pytest.raises(UsageError, match=r"poses.rig='carousel' is not one of handheld, turntable"):
        config.load(["poses.rig=carousel"])


def test_distances_move_only_where_a_hull_is_made_and_the_light_stands_still() -> None:
    assert "takes a light that stands still, not a flash" in refusal("rig=flash", "geometry.dmtet_steps=100")
    for other in ("geometry.method=joint", "geometry.mesh=a.glb"):
        assert "moves the hull, which is not made here" in refusal(other, "geometry.dmtet_steps=100")
    assert config.load(["geometry.dmtet_steps=100"]).geometry.dmtet_steps == 100
