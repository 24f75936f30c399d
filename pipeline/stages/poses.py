"""Poses: read the ones that came along, or have COLMAP find them."""

import torch

from pipeline.config import PosesConfig
from pipeline.errors import CaptureError
from pipeline.formats import capture_json
from pipeline.scene import Capture, Photos
from pipeline.stages.poses_given import given_views
from pipeline.stages.poses_solved import solved_views
from pipeline.workspace import Stage, StageContext

WARN_REGISTERED = 0.8


def find_poses(photos: Photos, config: PosesConfig, context: StageContext) -> Capture:
    """Pose every photo, in the frame of the file of poses or of COLMAP.

    Raises:
        CaptureError: When fewer photos than `config.min_registered` find a pose.
        InputError: When a file of poses names none of the photos, or holds an impossible pose.
    """
    if photos.poses_path is not None:
        given = given_views(photos, photos.poses_path, config, context)
        views, points, colors = given.views, given.points, given.point_colors
        wanted = [p for p in photos.photos if p.name not in given.held_out]
    else:
        views, points, colors = solved_views(photos, config, context)
        wanted = list(photos.photos)
    missing = [p.name for p in wanted if p.name not in {v.name for v in views}]
    share = len(views) / max(1, len(wanted))
    listed = ", ".join(missing[:6]) + (" ..." if len(missing) > 6 else "")
    if share < config.min_registered or len(views) < 3:
        raise CaptureError(
            f"{len(views)} of {len(wanted)} photos found a pose, {config.min_registered:.0%} and 3 needed; "
            f"without one: {listed}",
            remedy="photograph with 70 % overlap, and put printed paper under a plain object",
        )
    if share < WARN_REGISTERED:
        context.warn(f"{len(missing)} of {len(wanted)} photos found no pose: {listed}")
    context.metrics.update(registered=len(views), photos=len(photos.photos), sparse_points=len(points))
    return Capture(
        views=tuple(views),
        points=points,
        point_colors=colors,
        object_box=torch.full((2, 3), torch.nan, dtype=torch.float64),
        world_from_input=torch.eye(4, dtype=torch.float64),
        metres_per_unit=None,
        poses_given=photos.poses_path is not None,
    )


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
