"""World: move the capture into the settled world, where +Y is up and the object lies around the origin."""

from pipeline.config import WorldConfig
from pipeline.formats import capture_json
from pipeline.scene import Capture
from pipeline.stages.world_frame import settle
from pipeline.workspace import Stage, StageContext


def settle_world(capture: Capture, config: WorldConfig, context: StageContext) -> Capture:
    """Move a capture from the frame of its poses into the settled world."""
    return settle(capture)


def _summary(capture: Capture) -> str:
    known = "scale unknown" if capture.metres_per_unit is None else f"{capture.metres_per_unit:.4g} m per unit"
    return f"+Y up, {known}"


STAGE = Stage(
    name="world",
    version=1,
    compute=settle_world,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
