"""Which photo a file of poses means by a name."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline.discovery import PHOTO_SUFFIXES
from pipeline.errors import InputError
from pipeline.formats.given_cameras import GivenCamera
from pipeline.scene import Photo

Parts = tuple[str, ...]


class PhotoNames:
    """The photos of a capture by name.

    Files of poses write paths that are not ours, change the case, or leave the extension out. So a name is looked up
    as it is, then without regard to case, then without its extension, then without both; each time, the photo
    whose path ends in the same folders and name is meant.

    Args:
        photos: The photos.
        path: The file of poses, for errors.
    """

    def __init__(self, photos: Iterable[Photo], path: Path) -> None:
        self._path = path
        self._levels: list[dict[str, list[tuple[Parts, Photo]]]] = []
        all_photos = tuple(photos)
        for loose in range(4):
            by_last = defaultdict(list)
            for photo in all_photos:
                parts = _parts(photo.name, loose)
                by_last[parts[-1]].append((parts, photo))
            self._levels.append(by_last)

    def find(self, name: str) -> Photo | None:
        """The photo that is meant, or none.

        Raises:
            InputError: When several photos could be meant.
        """
        for loose, by_last in enumerate(self._levels):
            parts = _parts(name, loose)
            found = [(_common_tail(parts, other), photo) for other, photo in by_last.get(parts[-1], ())]
            best = max((length for length, _ in found), default=0)
            meant = [photo for length, photo in found if length == best]
            if len(meant) > 1:
                listed = ", ".join(photo.name for photo in meant[:4])
                raise InputError(
                    f"{name!r} could be any of {listed}", path=self._path, remedy="name the photos with their folders"
                )
            if meant:
                return meant[0]
        return None

    def size_of(self, name: str) -> tuple[int, int] | None:
        """Width and height of the photo that is meant, or none."""
        photo = self.find(name)
        return None if photo is None else (photo.width, photo.height)

    def match(self, cameras: Iterable[GivenCamera]) -> list[tuple[GivenCamera, Photo]]:
        """Cameras with their photos, in order of the photos' names; cameras of other photos are passed over.

        Raises:
            InputError: When two cameras mean one photo, or one camera could mean several.
        """
        camera_of: dict[str, GivenCamera] = {}
        photo_of: dict[str, Photo] = {}
        for camera in cameras:
            photo = self.find(camera.name)
            if photo is None:
                continue
            other = camera_of.setdefault(photo.name, camera)
            if other is not camera:
                raise InputError(
                    f"two of its frames mean the photo {photo.name}: {other.name} and {camera.name}",
                    path=self._path,
                    remedy="name the folder above the folders of photos with --images and --recursive",
                )
            photo_of[photo.name] = photo
        return [(camera_of[name], photo_of[name]) for name in sorted(camera_of)]


def _parts(name: str, loose: int) -> Parts:
    """The parts of a path; bit 0 of `loose` disregards case, bit 1 the extension."""
    posix = PurePosixPath(name.replace("\\", "/"))
    if loose & 2 and posix.suffix.lower() in PHOTO_SUFFIXES:
        posix = posix.with_suffix("")
    parts = tuple(part.casefold() if loose & 1 else part for part in posix.parts if part not in (".", "..", "/"))
    return parts or ("",)


def _common_tail(a: Parts, b: Parts) -> int:
    """How many parts agree, from the last one on."""
    length = 0
    while length < min(len(a), len(b)) and a[-1 - length] == b[-1 - length]:
        length += 1
    return length
