"""Frames of video files, decoded by the FFmpeg inside OpenCV."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from pipeline.errors import InputError
from pipeline.formats.native import native_messages_dropped
from pipeline.formats.signatures import holds_video, kind_of

MAX_PIXELS = 64_000_000  # of a frame; 8K has 33
MAX_FRAMES = 500_000  # more than two hours at 60 per second
_REMEDY = "MP4, MOV, MKV, WebM and AVI are read; if a player shows it, convert it to MP4"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame that was reached.

    Attributes:
        index: Its number, from 0.
        time_s: When it is shown.
        decode: Its pixels: sRGB, turned upright as the file says.
    """

    index: int
    time_s: float
    decode: Callable[[], UInt8[np.ndarray, "height width 3"]]


class VideoReader:
    """Goes through the frames of a video file, in order.

    Args:
        path: The file; its name in ASCII, as OpenCV crashes on others.
        told: What to call it in errors.

    Attributes:
        fps: Frames per second.
        declared_frames: How many the file says it has, or 0 when it does not say.

    Raises:
        InputError: When it is no video that can be read, or its frames are too large.
    """

    def __init__(self, path: Path, *, told: Path) -> None:
        self._told = told
        _refuse_playlists(path, told)
        with native_messages_dropped():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError("holds no video that can be read, or is truncated", path=told, remedy=_REMEDY)
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps < 10_000 else 30.0
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.declared_frames = int(declared) if math.isfinite(declared) and 0 < declared < 1e9 else 0
        self._check_sizes()

    def _check_sizes(self) -> None:
        sides = [self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        if sides[0] * sides[1] > MAX_PIXELS:
            size = f"{sides[0]:.0f} x {sides[1]:.0f} = {sides[0] * sides[1] / 1e6:.0f} megapixels a frame"
            self.close()
            raise InputError(f"{size}, limit {MAX_PIXELS / 1e6:.0f}", path=self._told)
        if self.declared_frames > MAX_FRAMES:
            self.close()
            raise InputError(f"{self.declared_frames} frames, limit {MAX_FRAMES}", path=self._told, remedy="cut it")

    def __iter__(self) -> Iterator[Frame]:
        """Reach one frame after the other; only those that are asked for their pixels are converted."""
        for index in range(MAX_FRAMES):
            with native_messages_dropped():
                reached = self._capture.grab()
            if not reached:
                return
            time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield Frame(index=index, time_s=time_s, decode=self._decode)
        raise InputError(f"more than {MAX_FRAMES} frames", path=self._told, remedy="cut it")

    def _decode(self) -> UInt8[np.ndarray, "height width 3"]:
        decoded, frame = self._capture.retrieve()
        if not decoded or frame is None:
            raise InputError("a frame cannot be decoded", path=self._told, remedy=_REMEDY)
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file."""
        self.close()


def _refuse_playlists(path: Path, told: Path) -> None:
    """FFmpeg would follow the paths and addresses inside text files that it takes for playlists."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not holds_video(head):
        raise InputError(f"not a video ({kind_of(head)})" if head else "is empty (0 bytes)", path=told, remedy=_REMEDY)
