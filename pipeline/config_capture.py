"""Settings of the stages from photos to masked views."""

import re
from dataclasses import dataclass

from pipeline.config_checks import choose, require
from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Reading the photos.

    Attributes:
        min_photos: Fewer usable photos than this stop the run; three views are the least that fix a shape.
        max_file_mib: Larger files are refused.
        max_megapixels: Photos of more pixels are refused, by their header.
        max_frames: Files of more frames are refused: they are films.
        decode_timeout_s: Processor time that decoding one photo may take, and a tenth of the time that passes.
        max_memory_mib: Memory that decoding one photo may take.
        max_image_px: Photos with a longer side are scaled down by a whole factor to stay below; no stage uses more.
        min_image_px: Photos with a shorter long side are refused; features need tens of pixels around them.
        max_blur_px: Photos whose edges are smeared by a Gaussian of a larger deviation are refused; measured at a
            long side of at most 1024 px, where sharp photos have 0.5 to 1.
        max_blur_ratio: So are those smeared by more than so many times the capture's median.
        max_clipped: Photos with a larger share of the object (or of the picture's middle) clipped are refused, and
            those with a larger share black.
        max_soft_mask: Masks with a larger share that is neither object nor background are told.
        video_frames: Frames taken from a video, at most: enough for a turn around an object in steps of 6 degrees.
        thin_bursts: Of near duplicates keep the sharpest only; photos with poses are all kept.
    """

    min_photos: int = 3
    max_file_mib: int = 2048
    max_megapixels: int = 250
    max_frames: int = 100
    decode_timeout_s: float = 60.0
    max_memory_mib: int = 4096
    max_image_px: int = 8192
    min_image_px: int = 32
    max_blur_px: float = 3.0
    max_blur_ratio: float = 3.0
    max_clipped: float = 0.9
    max_soft_mask: float = 0.1
    video_frames: int = 60
    thin_bursts: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        require(self, "min_photos", low=2, high=10_000)
        require(self, "max_file_mib", low=1, high=1e6)
        require(self, "max_megapixels", low=1, high=1e5)
        require(self, "max_frames", low=1, high=1e6)
        require(self, "decode_timeout_s", low=0.1, high=1e6)
        require(self, "max_memory_mib", low=256, high=1e7)
        require(self, "max_image_px", low=256, high=100_000)
        require(self, "min_image_px", low=8, high=10_000)
        require(self, "max_blur_px", low=0.5, high=100)
        require(self, "max_blur_ratio", low=1, high=1000)
        require(self, "max_clipped", low=0, high=1)
        require(self, "max_soft_mask", low=0, high=1)
        require(self, "video_frames", low=3, high=10_000)


@dataclass(frozen=True, kw_only=True)
class PosesConfig:
    """Structure from motion.

    Attributes:
        max_image_px: Features are found on photos no larger than this (long side): SIFT gains little above.
        max_features: SIFT features kept per photo; matching cost grows with its square.
        camera_model: COLMAP's model; one radial term fits phones and most lenses. It is set to zero when the photos
            show no distortion.
        rig: "handheld", the object stands still and its surroundings help, or "turntable", the object turns before
            a camera and a light that stand still: only the object carries features.
        exhaustive_photos: Up to so many photos all pairs are matched; of more, neighbours and like photos.
        retry_below: Share of the photos below which the next rung of the ladder of attempts is tried.
        min_registered: Share of the photos that must find a pose; below it the run stops.
        timeout_s: Limit for the child process.
        stall_s: The child is ended when it uses no processor time for so long: it hangs.
    """

    max_image_px: int = 1600
    max_features: int = 4096
    camera_model: str = "SIMPLE_RADIAL"
    rig: str = "handheld"
    exhaustive_photos: int = 120
    retry_below: float = 0.8
    min_registered: float = 0.4
    timeout_s: float = 3600.0
    stall_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "camera_model", ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"))
        choose(self, "rig", ("handheld", "turntable"))
        require(self, "max_image_px", low=200, high=20_000)
        require(self, "max_features", low=200, high=100_000)
        require(self, "exhaustive_photos", low=3, high=2000)
        require(self, "retry_below", low=0.0, high=1.0)
        require(self, "min_registered", low=0.0, high=1.0)
        require(self, "stall_s", low=1, high=1e6)
        require(self, "timeout_s", low=1, high=1e6)


@dataclass(frozen=True, kw_only=True)
class MasksConfig:
    """Telling the object from its surroundings, for photos that came without masks.

    Attributes:
        method: How missing masks are made: "backdrop" (plain ones), "model" (`--mask-model`), "consistency" (of the
            photos with each other), "none" (everything inside the object box); "auto" takes the first of these that
            finds an object; "given" makes none.
        model_sha256: What the model's content must hash to, in hexadecimal; empty for any.
        model_timeout_s: Limit for the child process that runs the model.
        repair: Whether masks that the hull of the others contradicts are corrected; given ones, too.
        drop_below: A photo whose mask agrees less than this (IoU) with the hull of the others is left out, unless there
            are many: it shows something else, or its pose is wrong. 0 keeps all.
        working_px: Long side at which masks are made.
        rounds: Rounds of segmenting each view and checking it against the hull of the others.
    """

    method: str = "auto"
    model_sha256: str = ""
    model_timeout_s: float = 3600.0
    repair: bool = False
    drop_below: float = 0.3
    working_px: int = 640
    rounds: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "method", ("auto", "given", "backdrop", "model", "consistency", "none"))
        if not re.fullmatch("([0-9a-fA-F]{64})?", self.model_sha256):
            raise UsageError(f"masks.model_sha256={self.model_sha256!r} is not 64 hexadecimal digits")
        require(self, "model_timeout_s", low=1, high=1e6)
        require(self, "drop_below", low=0.0, high=1.0)
        require(self, "working_px", low=100, high=8000)
        require(self, "rounds", low=1, high=6)
