"""Videos as MP4 files, encoded by the FFmpeg inside OpenCV."""

import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from pipeline.errors import ResourceError
from pipeline.formats.native import native_messages_dropped

CODECS = ("vp09", "mp4v")  # VP9 plays in browsers; MPEG-4 in most players. OpenCV's wheels encode no H.264


class Mp4Writer:
    """Encodes frames as they come; the file appears, whole, when the `with` block ends without an error.

    Args:
        path: Where the video will be.
        fps: Frames per second.

    Raises:
        ResourceError: When no codec works, or the file cannot be written.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._partial = path.with_name(f".{os.getpid()}.{path.name}")  # the suffix tells FFmpeg the container
        self._writer: cv2.VideoWriter | None = None
        self._count = 0

    def add(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Append an sRGB frame; odd sizes get a repeated last row or column, as video codecs need even ones."""
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._writer is None:
            self._writer = self._opened(even.shape[1], even.shape[0])
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        for codec in CODECS:
            with native_messages_dropped():
                code = cv2.VideoWriter.fourcc(*codec)
                writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, code, self._fps, (width, height))
            if writer.isOpened():
                return writer
        raise ResourceError(f"cannot be written: OpenCV opens no encoder ({', '.join(CODECS)})", path=self._path)

    def __enter__(self) -> "Mp4Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the finished file in its place; after an error, leave nothing."""
        try:
            if self._writer is not None:
                self._writer.release()
            if error is None and self._count:
                self._check()
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV's writer reports no failure, so the file is asked for its frames."""
        with native_messages_dropped():
            count = int(cv2.VideoCapture(str(self._partial)).get(cv2.CAP_PROP_FRAME_COUNT))
        if count != self._count:
            raise ResourceError(f"cannot be written: {count} of {self._count} frames arrived", path=self._path)
