"""Photos out of a video: the sharpest frames at an even baseline."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from pipeline.child import Progress, run_child
from pipeline.config import IngestConfig
from pipeline.discovery import FoundPhoto, FoundVideo
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.files import open_regular
from pipeline.formats.video_reader import VideoReader

MAX_BYTES = 2**36
TIMEOUT_S = 3600.0  # for one video
JPEG_QUALITY = 97
LOOKED_AT_PER_PICK = 50  # frames that are looked at for each that is taken

_WORKING_PX = 320
_SHARPNESS_PX = 960
_MIN_STEP_PX = 3.0  # at 320 px: views closer than this show the same
_NEW_ANCHOR_PX = 8.0
_FEATURES = 150
_MIN_TRACKED = 12
_MIN_FOUND = 0.3  # of the features
_SMOOTHING_PX = 1.5
_MIDDLE = 2 / 3  # of a piece of the way, from which its frame is taken

Gray = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a frame looked like.

    Attributes:
        index: Its number, from 0.
        time_s: When it is shown.
        way_px: How far the picture had moved since the first frame, in pixels of a picture 320 px wide.
        sharpness: Variance of the Laplacian; comparable between frames that show the same.
    """

    index: int
    time_s: float
    way_px: float
    sharpness: float


def found_frames(
    videos: tuple[FoundVideo, ...], folder: Path, config: IngestConfig, progress: Callable[[float, str], None]
) -> list[FoundPhoto]:
    """The frames of all videos as photos; errors as in `extract_frames`.

    Args:
        videos: The videos.
        folder: Where the frames go, one folder below it for each video.
        config: How many frames, and how long it may take.
        progress: Takes a share, which stays 0 as the photos are still to come, and a word.
    """
    found: list[FoundPhoto] = []
    for index, video in enumerate(videos):

        def tell(share: float, note: str, name: str = video.path.name) -> None:
            progress(0.0, f"{name}: {note} ({share:.0%})")

        inner = folder / f"video{index}"
        for path in extract_frames(video.path, inner, count=config.video_frames, timeout_s=TIMEOUT_S, progress=tell):
            taken = {photo.name for photo in found}
            name = path.name if path.name not in taken else f"{video.path.parent.name}/{path.name}"
            found.append(
                FoundPhoto(path=path, name=name, light_index=video.light_index, mask=None, refused="", video=video.path)
            )
    return found


def extract_frames(
    path: Path, folder: Path, *, count: int, timeout_s: float, progress: Callable[[float, str], None]
) -> list[Path]:
    """Write the sharpest frames of a video at an even baseline into `folder`, as JPEG named `NAME_FRAME.jpg`.

    The way that the picture moves is cut into `count` equal pieces (fewer if it hardly moves), and the sharpest frame
    from the middle of each is taken: where the camera stands still, one frame is. Works in a child process.

    Args:
        path: The video.
        folder: Where the frames go; made if missing.
        count: At most so many frames.
        timeout_s: Limit for the whole.
        progress: Takes the share done and a word.

    Raises:
        InputError: When the file is no video that can be read.
        ResourceError: When it takes too long.
        NativeCrashError: When the decoder crashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {"path": str(path), "folder": str(folder), "count": count}
    log = folder / "decode.log"
    done = run_child("pipeline.stages.ingest_video:pick", arguments, timeout_s=timeout_s, log=log, progress=progress)
    return [folder / name for name in done["frames"]]


def pick(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The child's side of `extract_frames`; returns the names of the `frames`.

    Args:
        arguments: `path`, `folder`, `count`.
        progress: As `extract_frames`.
    """
    path, folder, count = Path(arguments["path"]), Path(arguments["folder"]), arguments["count"]
    open_regular(path, max_bytes=MAX_BYTES).close()
    link = folder / f"video{path.suffix if path.suffix.isascii() else ''}"
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())
    try:
        looks = look_through(link, path, count, lambda share: progress(0.6 * share, "looking for sharp frames"))
        chosen = choose(looks, count)
        names = _write(link, path, folder, chosen, lambda share: progress(0.6 + 0.4 * share, "writing frames"))
    finally:
        link.unlink(missing_ok=True)
    return {"frames": names}


def look_through(link: Path, told: Path, count: int, progress: Callable[[float], None]) -> list[Look]:
    """Measure motion and sharpness over a video, on every n-th frame of a long one.

    Raises:
        InputError: When there is no frame.
    """
    looks: list[Look] = []
    track = _Track()
    with VideoReader(link, told=told) as video:
        stride = max(1, video.declared_frames // (count * LOOKED_AT_PER_PICK))
        for frame in video:
            if frame.index % stride:
                continue
            progress(min(1.0, frame.index / max(video.declared_frames, 1)))
            gray = cv2.cvtColor(frame.decode(), cv2.COLOR_RGB2GRAY)
            way_px = track.follow(_shrunk(gray, _WORKING_PX))
            sharpness = float(cv2.Laplacian(_shrunk(gray, _SHARPNESS_PX), cv2.CV_32F).var())
            looks.append(Look(index=frame.index, time_s=frame.time_s, way_px=way_px, sharpness=sharpness))
    if not looks:
        raise InputError("holds no frame that can be decoded", path=told)
    return looks


def choose(looks: list[Look], count: int) -> list[Look]:
    """The sharpest frame from the middle of each of `count` pieces of equal motion, or of as many as differ."""
    way = np.array([look.way_px for look in looks])
    total = float(way.max())
    pieces = max(1, min(count, int(total / _MIN_STEP_PX) + 1))
    step = max(total, 1e-6) / pieces
    chosen: dict[int, Look] = {}
    for k in range(pieces):
        middle = (k + 0.5) * step
        for reach in (_MIDDLE * step / 2, step / 2):
            inside = np.flatnonzero(np.abs(way - middle) <= reach)
            if len(inside):
                best = looks[max(inside, key=lambda i: looks[i].sharpness)]
                chosen[best.index] = best
                break
    return sorted(chosen.values(), key=lambda look: look.index)


def _write(link: Path, told: Path, folder: Path, chosen: list[Look], progress: Callable[[float], None]) -> list[str]:
    """Go through the video once more, since seeking by number is not exact, and write the chosen frames."""
    wanted = {look.index for look in chosen}
    names: list[str] = []
    with VideoReader(link, told=told) as video:
        for frame in video:
            if frame.index not in wanted:
                continue
            names.append(f"{told.stem}_{frame.index:06d}.jpg")
            images.write_jpeg(folder / names[-1], frame.decode(), quality=JPEG_QUALITY)
            progress(len(names) / len(wanted))
            if len(names) == len(wanted):
                break
    return names


class _Track:
    """How far the picture moved: features are followed from an anchor until they are far from it.

    Measured from an anchor and not from frame to frame, noise does not add up while the camera stands still.
    """

    def __init__(self) -> None:
        self._anchor: Gray | None = None
        self._before: Gray | None = None
        self._way_px = 0.0  # at the anchor
        self._reached_px = 0.0
        self._pace_px = 0.0  # from the frame before the last to the last

    def follow(self, gray: Gray) -> float:
        """The way up to this frame, in pixels of the working size."""
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), _SMOOTHING_PX))  # so that blurred frames are not lost
        if self._anchor is None or self._before is None:
            self._anchor = self._before = gray
            return 0.0
        moved = _mean_motion_px(self._anchor, gray)
        if moved is None:  # the anchor is out of sight: go on from the frame before
            self._anchor, self._way_px = self._before, self._reached_px
            moved = _mean_motion_px(self._anchor, gray)
        if moved is None:  # no feature is found back: something new, or on as before
            moved = max(self._pace_px, _MIN_STEP_PX)
        reached = self._way_px + moved
        self._pace_px = abs(reached - self._reached_px)
        self._before, self._reached_px = gray, reached
        if moved > _NEW_ANCHOR_PX:
            self._anchor, self._way_px = gray, reached
        return reached


def _mean_motion_px(first: Gray, second: Gray) -> float | None:
    """Mean length of the motion of features that are found back (there and back again), or none when few are."""
    corners = cv2.goodFeaturesToTrack(first, _FEATURES, 0.01, 5)
    if corners is None or len(corners) < _MIN_TRACKED:
        return None
    there, seen, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, np.zeros_like(corners))
    back, seen_again, _ = cv2.calcOpticalFlowPyrLK(second, first, there, np.zeros_like(corners))
    good = (seen[:, 0] > 0) & (seen_again[:, 0] > 0) & (_lengths(back - corners) < 0.5)
    if good.sum() < max(_MIN_TRACKED, _MIN_FOUND * len(corners)):
        return None
    return float(_lengths(there - corners)[good].mean())


def _lengths(steps: Float[np.ndarray, "points 1 2"]) -> Float[np.ndarray, "points"]:
    return np.linalg.norm(steps[:, 0], axis=-1)


def _shrunk(gray: Gray, width_px: int) -> Gray:
    scale = width_px / max(gray.shape)
    return gray if scale >= 1 else np.asarray(cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
