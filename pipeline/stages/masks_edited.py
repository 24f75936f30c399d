"""Masks that the user edited after a run: they win over all others in the next one."""

import dataclasses
import hashlib
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.scene import Capture, View
from pipeline.workspace import Staged

FOLDER = "masks_edited"
SMALLEST = 1e-4  # share of the photo; less of it, or all but so little of it, marks nothing


def with_edited_masks(settled: Staged[Capture], root: Path) -> Staged[Capture]:
    """Take the masks in `root`/masks_edited for the views that they are named after.

    They are masks of the undistorted photos, named like those that a run wrote into its folders `masks/masks` and
    `poses/masks`, or like the photo. Poses and world do not depend on them, and so are not found again.

    Raises:
        InputError: When a mask there belongs to no photo, has another size than its view, or marks nothing.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return settled
    named = {k: v for v in settled.value.views for k in (Path(v.name).stem, v.name, v.image_path.stem)}
    edited: dict[str, Path] = {}
    digest = hashlib.sha256(settled.key.encode())
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png" and not p.name.startswith(".")):
        view = named.get(path.stem)
        if view is None:
            raise InputError(
                f"is named after none of the {len(settled.value.views)} posed photos",
                path=path,
                remedy=f"name it like the mask that the run wrote, as in {settled.value.views[0].image_path.stem}.png",
            )
        if view.name in edited:
            raise InputError(f"is a second mask of {view.name}, beside {edited[view.name].name}", path=path)
        _check(path, view)
        edited[view.name] = path.resolve()
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    if not edited:
        return settled
    views = tuple(dataclasses.replace(v, mask_path=edited.get(v.name, v.mask_path)) for v in settled.value.views)
    return Staged(value=dataclasses.replace(settled.value, views=views), key=digest.hexdigest())


def _check(path: Path, view: View) -> None:
    width, height = images.image_size(path)
    if (width, height) != (view.camera.width, view.camera.height):
        raise InputError(
            f"is {width}x{height} px, the undistorted {view.name} {view.camera.width}x{view.camera.height} px",
            path=path,
            remedy=f"draw it over {view.image_path}",
        )
    share = float((images.read_mask(path) > 0.5).float().mean())
    if not SMALLEST < share < 1 - SMALLEST:
        raise InputError("is all black or all white", path=path, remedy="mark the object white, the rest black")
