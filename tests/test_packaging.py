"""What a user installs: the wheel's contents, the locks against the metadata, and the scripts' own words."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    return {k: Version(v) for k, v in (line.split("==") for line in lines if line and line[0] not in "#-")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("recon_pbr-*-py3-none-any.whl")))


def test_wheel_holds_the_package_and_its_configs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").rglob("*.py")}
    configs = {f"pipeline/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "configs").rglob("*.yaml")}
    assert configs
    assert modules | configs | {"pipeline/py.typed"} <= names
    assert {n.split("/")[0] for n in names} == {"pipeline", next(n for n in names if "dist-info" in n).split("/")[0]}


def test_wheel_names_command_licence_and_pythons(wheel: zipfile.ZipFile) -> None:
    texts = {n.rpartition("/")[2]: wheel.read(n).decode() for n in wheel.namelist() if ".dist-info/" in n}
    assert "recon = pipeline.cli:main" in texts["entry_points.txt"]
    assert "Apache License" in texts["LICENSE"]
    for line in ("Name: recon-pbr", "License-Expression: Apache-2.0", "Requires-Python: <3.14,>=3.11"):
        assert line in texts["METADATA"]
    extras = set(re.findall(r"Provides-Extra: (\w+)", texts["METADATA"]))
    assert extras == {"gpu", "heic", "raw", "masks", "bench", "dev"}


@pytest.mark.parametrize(
    ("locks", "extras"),
    [(["requirements.lock"], []), (["requirements.lock", "requirements-dev.lock"], ["heic", "raw", "bench", "dev"])],
)
def test_locks_satisfy_the_metadata(locks: list[str], extras: list[str]) -> None:
    locked = {canonicalize_name(k): v for name in locks for k, v in pins(name).items()}
    wanted = PROJECT["dependencies"] + [r for e in extras for r in PROJECT["optional-dependencies"][e]]
    for requirement in map(Requirement, wanted):
        if requirement.name == PROJECT["name"]:
            continue  # an extra of our own inside another
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked"
        assert version in requirement.specifier, f"{requirement} against {version}"


def test_locks_pin_no_build_and_no_place() -> None:
    """A lock works with any index and any build of torch, so it names neither."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert not re.search(r"://|--hash|index|\+", (ROOT / name).read_text())


def test_dev_lock_adds_to_the_first_and_repeats_nothing() -> None:
    assert "-r requirements.lock" in (ROOT / "requirements-dev.lock").read_text()
    assert not pins("requirements.lock").keys() & pins("requirements-dev.lock").keys()


def test_bootstrap_says_which_python_it_wants(tmp_path: Path) -> None:
    """In a copy, since the script works on the checkout that it lies in."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bootstrap.sh").write_bytes((ROOT / "scripts" / "bootstrap.sh").read_bytes())
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / lock).write_bytes((ROOT / lock).read_bytes())
    command = ["bash", str(tmp_path / "scripts" / "bootstrap.sh"), "run"]
    env = {"PATH": "/usr/bin:/bin", "RECON_PYTHON": "python9"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 5
    assert "found no Python 3.11, 3.12 or 3.13 as RECON_PYTHON=python9" in done.stderr
    assert not (tmp_path / ".venv").exists()
