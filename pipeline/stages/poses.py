"""Poses: read the ones that came along, or have COLMAP find them."""

from pathlib import Path

import torch

from pipeline.config import PosesConfig
from pipeline.errors import CaptureError
from pipeline.formats import capture_json
from pipeline.scene import Capture, Photos
from pipeline.stages.poses_given import given_views
from pipeline.stages.poses_solved import Solved, solved_views
from pipeline.workspace import Stage, StageContext

WARN_REGISTERED = 0.8
LISTED = 6  # names in an error; a warning lists them all


def find_poses(photos: Photos, config: PosesConfig, context: StageContext) -> Capture:
    """Pose every photo, in the frame of the file of poses or of COLMAP.

    Raises:
        CaptureError: When fewer photos than `config.min_registered` find a pose.
        InputError: When a file of poses names none of the photos, or holds an impossible pose.
    """
    found = (
        _given(photos, photos.poses_path, context)
        if photos.poses_path is not None
        else solved_views(photos, config, context)
    )
    _require_enough(photos, found, config, context)
    context.metrics.update(registered=len(found.views), photos=len(photos.photos), sparse_points=len(found.points))
    return Capture(
        views=tuple(found.views),
        points=found.points,
        point_colors=found.point_colors,
        object_box=torch.full((2, 3), torch.nan, dtype=torch.float64),
        world_from_input=torch.eye(4, dtype=torch.float64),
        metres_per_unit=None,
        poses_given=photos.poses_path is not None,
    )


def _given(photos: Photos, poses_path: Path, context: StageContext) -> Solved:
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    views = given_views(photos, poses_path, context)
    return Solved(views=views, points=nothing, point_colors=nothing, what="", remedy="")


def _require_enough(photos: Photos, found: Solved, config: PosesConfig, context: StageContext) -> None:
    """Refuse a capture of which too few photos are posed; warn, with all names, where some are missing."""
    posed = {v.name for v in found.views}
    missing = [p.name for p in photos.photos if p.name not in posed]
    total, share = len(photos.photos), len(posed) / len(photos.photos)
    why = f"; {found.what}" if found.what else ""
    if share < config.min_registered or len(posed) < 3:
        listed = ", ".join(missing[:LISTED]) + (" ..." if len(missing) > LISTED else "")
        raise CaptureError(
            f"{len(posed)} of {total} photos found a pose, {config.min_registered:.0%} and 3 needed; "
            f"without one: {listed}{why}",
            remedy=found.remedy or "photograph with 70 % overlap, and put printed paper under a plain object",
        )
    if share < WARN_REGISTERED or (missing and photos.poses_path is None):
        advice = f" ({found.remedy})" if found.remedy else ""
        context.warn(f"{len(missing)} of {total} photos found no pose: {', '.join(missing)}{why}{advice}")


def _summary(capture: Capture) -> str:
    return f"{len(capture.views)} photos posed, {len(capture.points)} sparse points"


STAGE = Stage(
    name="poses",
    version=3,
    compute=find_poses,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
