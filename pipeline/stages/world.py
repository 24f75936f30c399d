"""World: move the capture into the settled world, where +Y is up and the object lies around the origin."""

import dataclasses

import torch

from pipeline.config import WorldConfig
from pipeline.errors import UsageError
from pipeline.formats import capture_json
from pipeline.scene import Capture
from pipeline.stages.world_frame import settle
from pipeline.stages.world_markers import measure_with_markers
from pipeline.workspace import Stage, StageContext


def settle_world(capture: Capture, config: WorldConfig, context: StageContext) -> Capture:
    """Move a capture from the frame of its poses into the settled world, and find the scale if anything tells it.

    Raises:
        CaptureError: When the cameras do not look at one object.
        UsageError: When a scale is given for poses that were solved, whose frame has no unit.
    """
    return _scaled(settle(capture, config, context.runtime.seed), config, context)


def _scaled(capture: Capture, config: WorldConfig, context: StageContext) -> Capture:
    if config.metres_per_asset_unit is not None:
        return dataclasses.replace(
            capture, metres_per_asset_unit=config.metres_per_asset_unit, scale_from="the distance of two points"
        )
    if config.scale is not None:
        if not capture.poses_given:
            raise UsageError(
                f"--scale {config.scale:g} is metres per unit of given poses, and these were solved from the photos",
                remedy='measure two points in asset.glb and give --distance "x,y,z x,y,z metres"',
            )
        world_per_input = float(torch.linalg.det(capture.world_from_input[:3, :3])) ** (1 / 3)
        return dataclasses.replace(capture, metres_per_unit=config.scale / world_per_input, scale_from="--scale")
    if config.marker_size_m > 0:
        found = measure_with_markers(list(capture.views), config, context)
        if found is not None:
            return dataclasses.replace(capture, metres_per_unit=found, scale_from="the markers")
    return capture


def _summary(capture: Capture) -> str:
    scale = "scale unknown"
    if capture.metres_per_unit is not None:
        scale = f"{capture.metres_per_unit:.4g} m per unit by {capture.scale_from}"
    elif capture.scale_from:
        scale = f"scale by {capture.scale_from}"
    return f"+Y up by {capture.up_from}, {scale}"


STAGE = Stage(
    name="world",
    version=2,
    compute=settle_world,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
