"""Who makes the masks that did not come along: a plain backdrop, a model, the photos together, or nobody."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError, InputError
from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.geometry.outline import mask_distance
from pipeline.scene import Camera, Capture, View
from pipeline.stages.masks_auto import LARGEST, SMALLEST, make_masks
from pipeline.stages.masks_checks import SmallMask, contained, hulls_of_others
from pipeline.stages.masks_key import key_backdrop, unmix
from pipeline.stages.masks_model import MaskModel, predict
from pipeline.stages.masks_outline import clean, refine
from pipeline.stages.masks_views import in_parallel
from pipeline.workspace import StageContext

CHECK_PX = 400  # long side at which masks are held against each other
AGREE = 0.7  # of a median mask, the share inside the hull of the others; with less, no common object was found
REMEDY = "put masks in a folder masks/ beside the photos (white = object), or name a model with --mask-model"

Made = tuple[tuple[View, ...], dict[str, str]]


def make_missing(capture: Capture, model: MaskModel | None, config: MasksConfig, context: StageContext) -> Made:
    """Return views that all have a mask, and by name of the view how each came by it.

    With `config.method` "auto", methods are tried in order until one finds an object: a plain backdrop, the
    model that the user named, consistency of the photos, and at last everything inside of the object box.

    Raises:
        InputError: When masks are missing and only given ones are wanted.
        CaptureError: When the one method that is wanted finds no object.
    """
    missing = [v.name for v in capture.views if v.mask_path is None]
    origin = {v.name: "given" for v in capture.views}
    if not missing:
        return capture.views, origin
    listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
    if config.method == "given":
        raise InputError(
            f"masks.method=given, but {len(missing)} of {len(capture.views)} photos have no mask: {listed}",
            remedy="add theirs, or leave masks.method to auto",
        )
    views, method = _first_that_works(capture, model, config, context)
    if len(missing) < len(views):
        context.warn(f"{len(missing)} photos came without a mask; made by {method}: {listed}")
    return views, origin | dict.fromkeys(missing, method)


def _first_that_works(
    capture: Capture, model: MaskModel | None, config: MasksConfig, context: StageContext
) -> tuple[tuple[View, ...], str]:
    methods: dict[str, Callable[[], tuple[View, ...]]] = {
        "backdrop": lambda: _agreed(capture, lambda v: key_backdrop(v, config, context), unmix, context),
        "consistency": lambda: make_masks(capture, config, context),
        "none": lambda: everything_in_box(capture, context),
    }
    if model is not None:
        named = model
        methods["model"] = lambda: _agreed(capture, lambda v: predict(v, named, config, context), refine, context)
    if config.method != "auto":
        return methods[config.method](), config.method
    tried = []
    for method in ("backdrop", "model", "consistency"):
        if method in methods:
            try:
                return methods[method](), method
            except CaptureError as error:
                tried.append(f"{method}: {error.what}")
    context.warn(f"no masks could be made ({'; '.join(tried)})")
    return methods["none"](), "none"


def _agreed(
    capture: Capture,
    label: Callable[[list[View]], list[Float[np.ndarray, "_ _"]]],
    draw: Callable[[Float[np.ndarray, "_ _"], UInt8[np.ndarray, "_ _ 3"]], Float[np.ndarray, "_ _"]],
    context: StageContext,
) -> tuple[View, ...]:
    """Label the views that have no mask, keep what all photos together see, draw outlines, and write the masks.

    Raises:
        CaptureError: When the labels show no common object.
    """
    missing = [v for v in capture.views if v.mask_path is None]
    labels = dict(zip((v.name for v in missing), label(missing), strict=True))
    context.progress(0.8, "comparing the photos")
    threads = context.runtime.threads
    small = in_parallel(lambda v: small_mask(v, labels.get(v.name)), capture.views, threads)
    share = float(np.median([(m.mask > 0.5).mean() for m in small]))
    seen = hulls_of_others(small, capture.object_box, 0.0, threads) if SMALLEST < share < LARGEST else None
    inside = [] if seen is None else [contained(m.mask, s) for m, s in zip(small, seen, strict=True)]
    if seen is None or float(np.median(inside)) < AGREE:
        agreed = float(np.median(inside)) if inside else 0.0
        raise CaptureError(
            f"{share:.0%} of a photo is object, of which the other photos explain {agreed:.0%}, {AGREE:.0%} needed",
            remedy=REMEDY,
        )
    folder = context.folder / "masks"
    folder.mkdir(parents=True, exist_ok=True)

    def finish(view: View, silhouette: Float[np.ndarray, "_ _"]) -> View:
        if view.name not in labels:
            return view
        label = labels[view.name]
        silhouette = resize(silhouette, label.shape[1], label.shape[0])
        mask = draw(clean(_decided(label, silhouette), silhouette), images.read_image(view.image_path))
        path = folder / f"{view.image_path.stem}.png"
        images.write_mask(path, torch.from_numpy(mask))
        return dataclasses.replace(view, mask_path=path)

    return tuple(in_parallel(lambda pair: finish(*pair), zip(capture.views, seen, strict=True), threads))


def _decided(label: Float[np.ndarray, "_ _"], silhouette: Float[np.ndarray, "_ _"]) -> Float[np.ndarray, "_ _"]:
    """A photo about which the method knew nothing takes what the others say."""
    return silhouette if float(np.ptp(label)) == 0 else label


def small_mask(view: View, label: Float[np.ndarray, "_ _"] | None = None, long_side_px: int = CHECK_PX) -> SmallMask:
    """A view's mask, or a label in its place, no larger than `long_side_px`."""
    mask = images.read_mask(view.mask_path).numpy() if label is None and view.mask_path is not None else label
    if mask is None:
        raise InputError("has no mask", path=view.name)
    camera = view.camera.scaled(min(1.0, long_side_px / max(view.camera.width, view.camera.height)))
    scaled = resize(mask, camera.width, camera.height)
    return SmallMask(name=view.name, camera=camera, mask=scaled, distance=mask_distance(scaled))


def everything_in_box(capture: Capture, context: StageContext) -> tuple[View, ...]:
    """Masks that hold whatever the object box projects to, for photos in which no object could be told."""
    context.warn(
        "everything inside the object box counts as object: the shape will be coarse, what the photos agree on in "
        f"that box, with surroundings painted on; {REMEDY}"
    )
    folder = context.folder / "masks"
    folder.mkdir(parents=True, exist_ok=True)

    def fill(view: View) -> View:
        if view.mask_path is not None:
            return view
        path = folder / f"{view.image_path.stem}.png"
        images.write_mask(path, torch.from_numpy(box_silhouette(view.camera, capture.object_box)))
        return dataclasses.replace(view, mask_path=path)

    return tuple(in_parallel(fill, capture.views, context.runtime.threads))


def box_silhouette(camera: Camera, box: Float[torch.Tensor, "2 3"]) -> Float[np.ndarray, "height width"]:
    """Antialiased coverage of a box's projection; everything where a corner lies behind the camera."""
    pixels, depth = camera.project(torch.cartesian_prod(*box.T.double()))
    if bool((depth <= 0).any()):
        return np.ones((camera.height, camera.width), np.float32)
    outline = cv2.convexHull(pixels.numpy().astype(np.float32))[:, 0].astype(np.float64)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    beyond = np.full(x.shape, -np.inf)
    for start, end in zip(outline, np.roll(outline, -1, 0), strict=True):
        across = np.array([end[1] - start[1], start[0] - end[0]]) / max(np.hypot(*(end - start)), 1e-9)
        across *= -np.sign(across @ (outline.mean(0) - start))  # outwards
        beyond = np.maximum(beyond, (x - start[0]) * across[0] + (y - start[1]) * across[1])
    return np.clip(0.5 - beyond, 0, 1).astype(np.float32)
