"""Which device and rasteriser a run takes, and what it says about that; no GPU is needed."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pipeline.config import RunConfig, RuntimeConfig
from pipeline.discovery import Inputs
from pipeline.errors import InputError, ResourceError
from pipeline.progress import Reporter
from pipeline.raster.nvdiffrast_backend import NEEDED
from pipeline.run import run
from pipeline.runtime import make_runtime
from tests.stage_context import write_photos


class Context:
    def __init__(self, device: torch.device) -> None:
        self.device = device


def install(monkeypatch: pytest.MonkeyPatch, *, missing: str = "", context: object = Context) -> None:
    """Pretend that nvdiffrast is installed."""
    module = ModuleType("nvdiffrast.torch")
    for name in NEEDED:
        if name != missing:
            setattr(module, name, context if name == "RasterizeCudaContext" else print)
    monkeypatch.setitem(sys.modules, "nvdiffrast", ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", module)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def no_nvdiffrast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvdiffrast", "nvdiffrast.torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])


class Hidden:
    """An importer that knows no nvdiffrast, installed or not."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "nvdiffrast":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def taken(device: str = "auto", rasterizer: str = "auto") -> tuple[str, str, str]:
    runtime = make_runtime(RuntimeConfig(device=device, rasterizer=rasterizer))
    return runtime.device.type, runtime.rasterizer.name, runtime.note


def refusal(device: str = "auto", rasterizer: str = "auto") -> str:
    with pytest.raises(ResourceError) as caught:
        taken(device, rasterizer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("rasterizer", ["auto", "cpu"])
def test_without_a_gpu_there_is_nothing_to_say(device, rasterizer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert taken(device, rasterizer) == ("cpu", "cpu", "")


def test_a_gpu_with_nvdiffrast_is_taken_and_its_licence_told(gpu, monkeypatch):
    install(monkeypatch)
    for settings in (("auto", "auto"), ("cuda", "auto"), ("auto", "nvdiffrast"), ("cuda", "nvdiffrast")):
        device, name, note = taken(*settings)
        assert (device, name) == ("cuda", "nvdiffrast")
        assert "research and evaluation only" in note
    assert taken("cpu", "auto") == ("cpu", "cpu", "")


def test_a_gpu_without_nvdiffrast_is_left_idle_and_that_is_told(gpu, no_nvdiffrast):
    told = "rasteriser: cpu (nvdiffrast is not installed); the run leaves the GPU idle: the same results, slower"
    assert taken() == ("cpu", "cpu", told)
    assert taken("auto", "cpu") == ("cpu", "cpu", "rasteriser: cpu (as set); the run leaves the GPU idle")
    assert "nvdiffrast is not installed (pip install recon-pbr[gpu]" in refusal("cuda")
    assert "nvdiffrast is not installed (pip install recon-pbr[gpu]" in refusal("auto", "nvdiffrast")


def test_a_broken_nvdiffrast_is_told_in_one_line(gpu, monkeypatch):
    install(monkeypatch, missing="DepthPeeler")
    assert "the installed nvdiffrast has no DepthPeeler" in taken()[2]
    assert "the installed nvdiffrast has no DepthPeeler" in refusal("auto", "nvdiffrast")

    def fail(device: torch.device) -> None:
        raise RuntimeError("Error building extension\n" + "nvcc: not found\n" * 1000)

    install(monkeypatch, context=fail)
    device, name, note = taken()
    assert (device, name) == ("cpu", "cpu")
    assert "(nvdiffrast makes no context on cuda: Error building extension); the run leaves" in note
    assert refusal("auto", "nvdiffrast").endswith("runtime.rasterizer=cpu gives the same results, slower)")


def test_what_cannot_be_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "runtime.device=cuda, but torch" in refusal("cuda")
    assert "nvdiffrast needs CUDA, but torch" in refusal("auto", "nvdiffrast")
    assert "nvdiffrast needs CUDA, but runtime.device=cpu" in refusal("cpu", "nvdiffrast")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "nvdiffrast needs CUDA, but runtime.device=cpu" in refusal("cpu", "nvdiffrast")
    assert "runtime.rasterizer=cpu computes on the CPU (leave one of them to auto)" in refusal("cuda", "cpu")


def test_a_run_says_once_what_it_took(gpu, no_nvdiffrast, tmp_path: Path, capsys: pytest.CaptureFixture):
    photos = write_photos(tmp_path / "photos", "one.png")
    with pytest.raises(InputError):
        run(RunConfig(), inputs=Inputs(images=(photos,)), out=tmp_path / "out", reporter=Reporter())
    assert capsys.readouterr().out.count("rasteriser: cpu (nvdiffrast is not installed)") == 1
