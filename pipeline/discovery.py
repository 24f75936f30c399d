"""Find photos, masks and poses in the folder that the user named."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, UsageError
from pipeline.formats.pose_files import READ, files_of, find_pose_files

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
MASK_FOLDERS = ("masks", "mask")
# Held-out photos, truth and light of a benchmark: a run that opened them could cheat.
NEVER_OPENED = ("test", "test_gt", "val", "relit", "truth", "hdri", "exr")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the user named on the command line.

    Attributes:
        images: Folders of photos, one per pass: between passes the object was turned over.
        videos: Video files, taken as further passes.
        masks: A folder of masks, or none to look for one beside the photos.
        poses: A file or folder of poses in one of the formats that are read, or none to look for one beside the photos.
        solve_poses: Whether to solve the poses even when some lie beside the photos.
        recursive: Whether photos in sub-folders count.
    """

    images: tuple[Path, ...]
    videos: tuple[Path, ...] = ()
    masks: Path | None = None
    poses: Path | None = None
    solve_poses: bool = False
    recursive: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that a run starts from.

    Attributes:
        folder: The folder of the photos.
        photos: Photo files in order of name.
        masks: Mask file of each photo that has one, by photo.
        poses_path: A file or folder of poses, or none.
        other_poses: Further ones beside the photos, which are not read.
        ignored: Names in the folder that are no photos.
    """

    folder: Path
    photos: tuple[Path, ...]
    masks: dict[Path, Path]
    poses_path: Path | None
    ignored: tuple[str, ...]
    other_poses: tuple[Path, ...] = ()

    def key(self) -> str:
        """A hash over the names and the contents of every file."""
        digest = hashlib.sha256()
        files = [*self.photos, *(self.masks[p] for p in self.photos if p in self.masks)]
        for path in [*files, *(files_of(self.poses_path) if self.poses_path else ())]:
            digest.update(path.name.encode(errors="surrogateescape") + b"\0")
            if path.is_file() and os.access(path, os.R_OK):  # ingest says what is wrong with any other
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def discover(inputs: Inputs) -> Source:
    """Find what `--images DIR` holds: photos, or exactly one folder of photos; masks; poses.

    Raises:
        UsageError: When the folder is missing.
        InputError: When it holds no photos, or several folders of them, or masks of other photos.
    """
    (images,) = inputs.images
    if not images.exists():
        raise UsageError("does not exist", path=images, remedy="name the folder of your photos with --images DIR")
    if not images.is_dir():
        raise UsageError("is a file", path=images, remedy="name the folder of your photos with --images DIR")
    if inputs.poses is not None and not inputs.poses.exists():
        raise UsageError("does not exist", path=inputs.poses, remedy="name a file or folder of poses with --poses")
    try:
        return _discover(inputs, images)
    except PermissionError as error:
        raise InputError("cannot be listed: permission denied", path=error.filename) from error


def _discover(inputs: Inputs, images: Path) -> Source:
    folder = images if _photos_in(images) else _only_photo_folder(images)
    photos = _photos_in(folder)
    poses = _pose_files(inputs, tuple(dict.fromkeys([images, folder])))
    return Source(
        folder=folder,
        photos=photos,
        masks=_match_masks(photos, folder, images),
        poses_path=poses[0] if poses else None,
        other_poses=poses[1:],
        ignored=tuple(sorted(p.name for p in folder.iterdir() if p not in photos and not p.is_dir())),
    )


def _pose_files(inputs: Inputs, folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """The poses that the user named, or all beside the photos, the best first.

    Raises:
        InputError: When a folder was named that holds none.
    """
    if inputs.solve_poses:
        return ()
    if inputs.poses is None:
        return tuple(path for folder in folders for path in find_pose_files(folder))
    if not inputs.poses.is_dir():
        return (inputs.poses,)
    found = find_pose_files(inputs.poses)
    if not found:
        raise InputError("holds no poses", path=inputs.poses, remedy=f"read are {READ}")
    return found


def _photos_in(folder: Path) -> tuple[Path, ...]:
    """Entries that are named like photos; hidden ones (`._x.jpg` of macOS) are not."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith("."))
    return tuple(sorted(found, key=lambda p: p.name))


def _only_photo_folder(images: Path) -> Path:
    skipped = {*MASK_FOLDERS, *NEVER_OPENED}
    inner = sorted(p for p in images.iterdir() if p.is_dir() and p.name.lower() not in skipped)
    candidates = [p for p in inner if not (p / ".lock").exists() and _photos_in(p)]  # an earlier run has a lock
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(p.name for p in candidates[:4])
        raise InputError(f"holds {len(candidates)} folders of photos: {names}", path=images, remedy="name one of them")
    accepted = ", ".join(PHOTO_SUFFIXES)
    raise InputError("holds no photos", path=images, remedy=f"accepted: {accepted}; 40 or more make a good asset")


def _match_masks(photos: tuple[Path, ...], folder: Path, images: Path) -> dict[Path, Path]:
    """Masks of a folder inside or beside the photos, matched by name: `a.jpg` to `a.png` or `a.jpg.png`."""
    parents = dict.fromkeys([folder, images, folder.parent])
    mask_folder = next((p / n for p in parents for n in MASK_FOLDERS if (p / n).is_dir()), None)
    if mask_folder is None:
        return {}
    by_stem = {p.stem: p for p in _photos_in(mask_folder)}
    masks = {p: by_stem[k] for p in photos for k in (p.stem, p.name) if k in by_stem}  # the whole name wins
    if not masks and by_stem:
        raise InputError(
            f"none of {len(by_stem)} masks is named like one of {len(photos)} photos, as in {photos[0].stem}.png",
            path=mask_folder,
            remedy="rename the masks, or move the folder away to have them made",
        )
    return masks
