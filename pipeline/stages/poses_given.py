"""Poses that came along with the photos."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats import transforms_json
from pipeline.scene import Photos, View
from pipeline.stages.poses_view import still_view
from pipeline.workspace import StageContext


def given_views(photos: Photos, path: Path, context: StageContext) -> list[View]:
    """Views of a transforms file, matched to the photos by name; `file_path` may lack its extension."""
    frames = transforms_json.read_transforms(path)
    named = {Path(p.name).stem: p for p in photos.photos} | {p.name: p for p in photos.photos}
    views: dict[str, View] = {}
    for frame in frames:
        photo = named.get(Path(frame.file_path).name) or named.get(frame.name)
        if photo is None:
            continue
        if photo.name in views:
            raise InputError(f"two of its frames mean the photo {photo.name}", path=path)
        camera = frame.camera
        if abs(camera.width / camera.height - photo.width / photo.height) > 0.01:
            raise InputError(
                f"{frame.name} is {camera.width}x{camera.height} px here, its photo {photo.width}x{photo.height} px",
                path=path,
            )
        fitted = camera.resized(photo.width, photo.height)
        views[photo.name] = still_view(photo, photo.image_path, photo.mask_path, fitted)
    if not views:
        raise InputError(
            f"none of its {len(frames)} frames names one of the {len(photos.photos)} photos",
            path=path,
            remedy="file_path must end in the photo's name; move the file away to have poses solved",
        )
    context.progress(1.0, f"{len(views)} poses read")
    return sorted(views.values(), key=lambda v: v.name)
