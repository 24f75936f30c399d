"""Masks by a segmentation model that the user names: an ONNX file, such as those that rembg works with.

Nothing is ever downloaded. Models of this kind take one RGB picture of a fixed size and answer with a map of
how likely each pixel is foreground. They differ in size, which the file tells, and in how pixels are scaled
and the map is read, which only its name tells (facts from rembg's `sessions/*.py`, MIT).
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from pipeline.child import Progress, run_child
from pipeline.config import MasksConfig
from pipeline.errors import InputError, UsageError
from pipeline.formats import images
from pipeline.scene import View
from pipeline.stages.masks_views import in_parallel
from pipeline.workspace import StageContext

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEFAULT_INPUT_PX = 1024  # where a model takes any size
REMEDY = "rembg's u2net, u2netp, isnet-general-use, birefnet and silueta are of the right kind"


@dataclass(frozen=True, kw_only=True)
class MaskModel:
    """A model file.

    Attributes:
        path: The file.
        sha256: Of its content, in hexadecimal.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the models of one name are fed and read.

    Attributes:
        word: What their file names hold.
        mean: Taken off the pixels, which are divided by the picture's maximum before.
        std: What they are divided by after.
        logits: Whether the map is log-odds.
    """

    word: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    logits: bool = False


FAMILIES = (
    Family(word="u2net"),  # also u2netp, u2net_human_seg
    Family(word="silueta"),
    Family(word="isnet", std=(1.0, 1.0, 1.0)),
    Family(word="birefnet", logits=True),
    Family(word="rmbg"),
)


def find_model(path: Path | None, config: MasksConfig) -> MaskModel | None:
    """Check the model that the user named before any work is done.

    Raises:
        UsageError: When one is needed and none is named, the file is missing, or onnxruntime is not installed.
        InputError: When its sha256 is not `config.model_sha256`.
    """
    if path is None:
        if config.method == "model" or config.model_sha256:
            key = "masks.method=model" if config.method == "model" else "masks.model_sha256"
            raise UsageError(f"{key} needs a model", remedy="name its file with --mask-model FILE")
        return None
    if not path.is_file():
        raise UsageError(
            "is no file" if path.exists() else "does not exist",
            path=path,
            remedy=f"--mask-model names an ONNX file; none is downloaded; {REMEDY}",
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError(
            "--mask-model needs onnxruntime, which is not installed", remedy="pip install recon-pbr[masks]"
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    expected = config.model_sha256.lower()
    if expected and sha256 != expected:
        raise InputError(
            f"has the sha256 {sha256}, expected {expected}",
            path=path,
            remedy="get the file again from where you trust it, or correct masks.model_sha256",
        )
    return MaskModel(path=path, sha256=sha256)


def predict(
    views: list[View], model: MaskModel, config: MasksConfig, context: StageContext
) -> list[Float[np.ndarray, "_ _"]]:
    """How likely each pixel is object, at the model's own resolution in the photos' proportions.

    Raises:
        InputError: When the file is no model of the right kind.
        NativeCrashError: When it kills the process that runs it.
    """
    folder = context.folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [folder / f"{view.image_path.stem}.png" for view in views]
    run_child(
        "pipeline.stages.masks_model:segment_photos",
        {
            "model": str(model.path),
            "photos": [str(view.image_path) for view in views],
            "maps": [str(path) for path in wanted],
            "threads": context.runtime.threads,
        },
        timeout_s=config.model_timeout_s,
        log=context.folder / "model.log",
        progress=lambda share, note: context.progress(0.8 * share, note),
    )
    return in_parallel(lambda path: images.read_mask(path).numpy(), wanted, context.runtime.threads)


def segment_photos(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Run the model over all photos; the child's entry, see `predict`."""
    path = Path(arguments["model"])
    session, width, height = _open(path, arguments["threads"])
    family = family_of(path.name)
    photos, maps = arguments["photos"], arguments["maps"]
    for index, (photo, target) in enumerate(zip(photos, maps, strict=True)):
        progress(index / len(photos), f"segmenting with {path.name}")
        rgb = images.read_image(Path(photo))
        raw = _run(session, normalised(rgb, width, height, family), path)
        scale = min(1.0, max(width, height) / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        likely = cv2.resize(likelihood(raw, family), size, interpolation=cv2.INTER_LINEAR)
        images.write_png(Path(target), np.rint(likely * 255).astype(np.uint8))
    return {}


def _open(path: Path, threads: int) -> tuple[Any, int, int]:
    """The session, and the width and height that the model wants."""
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        reason = str(error).splitlines()[0][:160]
        raise InputError(f"cannot be loaded as an ONNX model: {reason}", path=path, remedy=REMEDY) from error
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, "3") or inputs[0].type != "tensor(float)":
        told = "; ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InputError(
            f"takes {told}, but one float picture (1, 3, height, width) is needed", path=path, remedy=REMEDY
        )
    height, width = (side if isinstance(side, int) and side > 0 else DEFAULT_INPUT_PX for side in shape[2:])
    return session, width, height


def _run(session: Any, picture: Float[np.ndarray, "1 3 height width"], path: Path) -> Float[np.ndarray, "_ _"]:  # noqa: ANN401  # onnxruntime has no types
    """The first output's first channel."""
    try:
        raw = np.asarray(session.run(None, {session.get_inputs()[0].name: picture})[0], np.float32)
    except Exception as error:  # onnxruntime's errors share no base class
        raise InputError(f"failed: {str(error).splitlines()[0][:160]}", path=path, remedy=REMEDY) from error
    plane = raw[0, 0] if raw.ndim == 4 else raw.squeeze()
    if plane.ndim != 2 or not np.isfinite(plane).all():
        raise InputError(f"answers with {raw.shape}, but a finite map is needed", path=path, remedy=REMEDY)
    return plane


def family_of(file_name: str) -> Family | None:
    """The family by the file's name, or none."""
    name = file_name.lower()
    return next((f for f in FAMILIES if f.word in name), None)


def normalised(
    rgb: UInt8[np.ndarray, "rows columns 3"], width: int, height: int, family: Family | None
) -> Float[np.ndarray, "1 3 height width"]:
    """A photo as the model wants it: squeezed to its size, over its maximum, less the mean, over the deviation."""
    family = family or Family(word="")
    shrinks = rgb.shape[0] * rgb.shape[1] > width * height
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    scaled = small.astype(np.float32) / max(1.0, float(small.max()))
    return ((scaled - np.array(family.mean, np.float32)) / np.array(family.std, np.float32)).transpose(2, 0, 1)[None]


def likelihood(raw: Float[np.ndarray, "height width"], family: Family | None) -> Float[np.ndarray, "height width"]:
    """The model's map in [0, 1].

    Known families are stretched to the whole range, after a logistic curve where they answer log-odds. An unknown
    model's map is taken as it is when it lies in [0, 1], else as log-odds.
    """
    if family is None:
        return raw if raw.min() >= 0 and raw.max() <= 1 else _logistic(raw)
    values = _logistic(raw) if family.logits else raw
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _logistic(log_odds: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
