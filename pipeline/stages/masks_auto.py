"""Masks for photos that came without."""

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.scene import Capture, View
from pipeline.workspace import StageContext


def make_masks(capture: Capture, config: MasksConfig, context: StageContext) -> tuple[View, ...]:
    """Return the views of `capture`, all with masks."""
    missing = [v.name for v in capture.views if v.mask_path is None]
    raise CaptureError(f"{len(missing)} photos have no mask", path=missing[0], remedy="put masks in a folder masks/")
