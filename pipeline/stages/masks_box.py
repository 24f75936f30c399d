"""The object's box, once all masks are known, and what the frames of the photos cut off."""

import numpy as np
import torch
from jaxtyping import Float

from pipeline.errors import CaptureError
from pipeline.geometry.object_box import MIN_CONTACT, frame_contact, object_box
from pipeline.scene import Camera, Capture
from pipeline.workspace import StageContext


def find_box(
    capture: Capture,
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    dissent: float,
    context: StageContext,
) -> Float[torch.Tensor, "2 3"]:
    """The user's box, or the one around hull and sparse points; warns of photos whose frame cuts the object.

    Args:
        capture: Views and sparse points; `object_box` is where to look, or the user's.
        cameras: One per mask, for the mask's own size.
        distances: Signed distances to the outlines, pixels.
        dissent: Share of the views that may be overruled about a point of the hull.
        context: Of the stage.

    Raises:
        CaptureError: When the masks have no common object.
    """
    cut = [v.name for v, d in zip(capture.views, distances, strict=True) if frame_contact(d) > MIN_CONTACT]
    context.metrics["cut_by_frame"] = len(cut)
    if cut:
        listed = ", ".join(cut[:6]) + (" ..." if len(cut) > 6 else "")
        context.warn(
            f"the object reaches over the frame of {len(cut)} of {len(distances)} photos, which say nothing about "
            f"what lies outside: {listed} (step back until all of it is in the photo)"
        )
    if capture.box_given:
        return capture.object_box
    box = object_box(cameras, distances, capture.object_box, dissent=dissent, points=capture.points)
    if box is None:
        raise CaptureError(
            f"the {len(cameras)} masks have no point in common",
            remedy="check masks and poses: they must show one object",
        )
    return box
