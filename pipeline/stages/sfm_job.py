"""What the child process of structure from motion is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import PosesConfig
from pipeline.scene import Photo

Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class SfmJob:
    """A capture to solve.

    Attributes:
        folder: Where databases, models and pictures are written.
        photos: The photos by the name that COLMAP knows them by: the file name of the normalised copy.
        config: The settings of the poses stage.
        seed: Seed of every random choice.
        threads: CPU threads of features and matching; mapping takes one, because more make its result vary.
    """

    folder: Path
    photos: dict[str, Photo]
    config: PosesConfig
    seed: int
    threads: int

    @staticmethod
    def from_arguments(arguments: dict[str, Any]) -> "SfmJob":
        """Read the job from the plain values that travel to the child.

        Args:
            arguments: `folder`; `photos`, the fields of each `Photo`; `config`, the fields of `PosesConfig`; `seed`;
                `threads`. Paths are strings.
        """
        photos = [photo_from_record(record) for record in arguments["photos"]]
        return SfmJob(
            folder=Path(arguments["folder"]),
            photos={p.image_path.name: p for p in photos},
            config=PosesConfig(**arguments["config"]),
            seed=arguments["seed"],
            threads=arguments["threads"],
        )

    def original_names(self, names: list[str]) -> list[str]:
        """The names that the user gave, of photos that COLMAP knows by these."""
        return [self.photos[n].name for n in names]


def photo_from_record(record: dict[str, Any]) -> Photo:
    """A photo from the plain values that travel to a child process."""
    fields: dict[str, Any] = {k: Path(v) if k.endswith("_path") and v is not None else v for k, v in record.items()}
    return Photo(**fields)


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """The share [start, end] of `progress`, for a step that counts from 0 to 1."""
    return lambda fraction, note: progress(start + (end - start) * min(1.0, max(0.0, fraction)), note)
