"""Several passes of one object, which was turned over in between: solved each, then all together without the room.

What stands around the object contradicts itself between passes, so that only features of the object may join them.
Where masks are missing, each pass is first solved with its surroundings, which help, and masks are made from that.
"""

import dataclasses
import shutil
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.formats import images
from pipeline.scene import Capture, Photo, Photos, View
from pipeline.stages import ingest_files, masks, poses, world
from pipeline.stages.masks_model import MaskModel
from pipeline.workspace import Stage, StageContext, Staged, Workspace


def with_masks(
    photos: Staged[Photos], segmenter: Staged[MaskModel | None], config: RunConfig, workspace: Workspace
) -> Staged[Photos]:
    """The photos, with a mask each where there are several passes to be joined; else as they are.

    A pass whose masks are missing is solved, settled and masked alone, in the folders `poses_pass1` and so on. Its
    photos go on without distortion.
    """
    passes = sorted({p.light_index for p in photos.value.photos})
    missing = any(p.mask_path is None for p in photos.value.photos)
    if len(passes) < 2 or photos.value.poses_path is not None or not missing:
        return photos
    captures = []
    for index in passes:
        own = tuple(p for p in photos.value.photos if p.light_index == index)
        alone = Staged(value=dataclasses.replace(photos.value, photos=own), key=f"{photos.key} pass {index}")
        posed = workspace.stage(_named(poses.STAGE, index), config.poses, alone)
        settled = workspace.stage(_named(world.STAGE, index), config.world, posed)
        captures.append(workspace.stage(_named(masks.STAGE, index), config.masks, settled, segmenter))
    keys = " ".join(c.key for c in captures)
    return workspace.stage(STAGE, None, photos, Staged(value=[c.value for c in captures], key=keys))


def _named(stage: Stage[Capture], index: int) -> Stage[Capture]:
    return dataclasses.replace(stage, name=f"{stage.name}_pass{index + 1}")


def gather(photos: Photos, captures: list[Capture], config: None, context: StageContext) -> Photos:
    """The undistorted photos and masks of all passes, as photos to be solved together."""
    for name in ("images", "masks", "deep"):
        (context.folder / name).mkdir(exist_ok=True)
    labels = {p.name: p.camera_label for p in photos.photos}
    views = [v for capture in captures for v in capture.views]
    gathered = tuple(_photo(v, labels[v.name], context.folder) for v in views)
    ingest_files.write_verdicts(list(photos.verdicts), context.folder)
    return Photos(photos=gathered, poses_path=None, verdicts=photos.verdicts)


def _photo(view: View, label: str, folder: Path) -> Photo:
    """A view as a photo of a lens without distortion; its files are copied into `folder`."""
    image_path, deep_path = folder / "images" / view.image_path.name, None
    if view.image_path.suffix == ".exr":
        deep_path, image_path = folder / "deep" / view.image_path.name, image_path.with_suffix(".jpg")
        shutil.copyfile(view.image_path, deep_path)
        images.write_jpeg(image_path, images.read_image(view.image_path), quality=97)
    else:
        shutil.copyfile(view.image_path, image_path)
    mask_path = None
    if view.mask_path is not None:
        mask_path = folder / "masks" / f"{view.image_path.stem}.png"
        shutil.copyfile(view.mask_path, mask_path)
    camera = view.camera
    return Photo(
        name=view.name,
        image_path=image_path,
        mask_path=mask_path,
        width=camera.width,
        height=camera.height,
        focal_px=float(camera.K[0, 0]),
        camera_label=f"{label}, pass {view.light_index + 1}",
        deep_path=deep_path,
        light_index=view.light_index,
        exposure=float(view.exposure.mean()),
    )


STAGE = Stage(
    name="passes",
    version=1,
    compute=gather,
    save=ingest_files.save,
    load=ingest_files.load,
    summary=lambda photos: f"{len(photos.photos)} photos with masks",
)
