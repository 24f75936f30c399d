"""Poses: read the ones that came along, or have COLMAP find them."""

import torch

from pipeline.config import PosesConfig
from pipeline.errors import CaptureError
from pipeline.formats import capture_json
from pipeline.scene import Capture, Photos
from pipeline.stages.poses_given import GivenViews, given_views
from pipeline.stages.poses_solved import Cause, Solved, solved_views
from pipeline.stages.poses_turntable import under_a_still_light
from pipeline.workspace import Stage, StageContext

WARN_REGISTERED = 0.8
LISTED = 6  # names in an error; a warning lists them all


def find_poses(photos: Photos, config: PosesConfig, context: StageContext) -> Capture:
    """Pose every photo, in the frame of the file of poses or of COLMAP.

    Raises:
        CaptureError: When fewer photos than `config.min_registered` find a pose.
        InputError: When a file of poses names none of the photos, or holds an impossible pose.
    """
    if photos.poses_path is not None:
        found: GivenViews | Solved = given_views(photos, photos.poses_path, config, context)
    else:
        found = solved_views(photos, config, context)
    _require_enough(photos, found, config, context)
    context.metrics.update(registered=len(found.views), photos=len(photos.photos), sparse_points=len(found.points))
    views = under_a_still_light(found.views) if config.rig == "turntable" else found.views
    return Capture(
        views=tuple(views),
        points=found.points,
        point_colors=found.point_colors,
        object_box=torch.full((2, 3), torch.nan, dtype=torch.float64),
        world_from_input=torch.eye(4, dtype=torch.float64),
        metres_per_unit=None,
        poses_given=photos.poses_path is not None,
    )


def _require_enough(photos: Photos, found: GivenViews | Solved, config: PosesConfig, context: StageContext) -> None:
    """Refuse a capture of which too few photos are posed; warn, with all names, where some are missing."""
    held_out, cause = (found.held_out, Cause()) if isinstance(found, GivenViews) else ((), found.cause)
    posed = {v.name for v in found.views}
    wanted = [p.name for p in photos.photos if p.name not in held_out]
    missing = [name for name in wanted if name not in posed]
    share = len(posed) / max(1, len(wanted))
    why = f"; {cause.what}" if cause.what else ""
    if share < config.min_registered or len(posed) < 3:
        listed = ", ".join(missing[:LISTED]) + (" ..." if len(missing) > LISTED else "")
        raise CaptureError(
            f"{len(posed)} of {len(wanted)} photos found a pose, {config.min_registered:.0%} and 3 needed; "
            f"without one: {listed}{why}",
            remedy=cause.remedy or "photograph with 70 % overlap, and put printed paper under a plain object",
        )
    if share < WARN_REGISTERED or (missing and photos.poses_path is None):
        advice = f" ({cause.remedy})" if cause.remedy else ""
        context.warn(f"{len(missing)} of {len(wanted)} photos found no pose: {', '.join(missing)}{why}{advice}")


def _summary(capture: Capture) -> str:
    return f"{len(capture.views)} photos posed, {len(capture.points)} sparse points"


STAGE = Stage(
    name="poses",
    version=5,
    compute=find_poses,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
