"""Run ingest alone, with its children's work done in the test's process: a child takes seconds to start."""

import importlib
import shutil
from pathlib import Path

import pytest

from pipeline.config import IngestConfig
from pipeline.discovery import Inputs, discover
from pipeline.scene import Photos
from pipeline.stages import ingest_children, ingest_items
from pipeline.stages.ingest import STAGE
from tests.stage_context import make_context


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the functions that children call be called here."""

    def call(target, arguments, *, timeout_s, log, progress):
        module, function = target.split(":")
        return getattr(importlib.import_module(module), function)(arguments, progress)

    monkeypatch.setattr(ingest_children, "run_child", call)
    monkeypatch.setattr(ingest_items, "_limit_memory", lambda growth_mib: None)


def ingest(*images: Path, masks: Path | None = None, recursive: bool = False, **settings) -> tuple[Photos, list[str]]:
    """Ingest folders, save and load; returns the photos and the warnings. What it saved lies in `FOLDER.ingest`."""
    folder = images[0].with_name(images[0].name + ".ingest")
    shutil.rmtree(folder, ignore_errors=True)
    context, warnings = make_context(folder)
    source = discover(Inputs(images=images, masks=masks, recursive=recursive))
    STAGE.save(STAGE.compute(source, IngestConfig(**{"min_photos": 2} | settings), context), folder)
    return STAGE.load(folder), warnings
