"""The compilation of the kernels is announced, and only when it happens."""

from numba.core import event

from pipeline import warmup
from pipeline.warmup import compile_kernels


def test_cached_kernels_are_not_announced():
    warmup.exercise_rasterizer()
    warmup.exercise_shading()
    said = []
    compile_kernels(said.append)
    assert said == []


def test_compilation_is_announced_once(monkeypatch):
    def compile_twice():
        for _ in range(2):
            with event.trigger_event("numba:compile", data={}):
                assert len(said) == 1

    said = []
    monkeypatch.setattr(warmup, "exercise_rasterizer", compile_twice)
    compile_kernels(said.append)
    assert "once" in said[0]
    assert len(said) == 1
