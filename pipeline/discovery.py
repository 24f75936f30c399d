"""Find photos, masks and poses in the folders that the user named."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.errors import InputError, UsageError
from pipeline.formats.pose_files import READ, files_of, find_pose_files
from pipeline.formats.signatures import RAW_SUFFIXES, named_like_video

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".gif", ".heic", ".heif", ".hif", ".exr", ".hdr"),
    *RAW_SUFFIXES,
)
MASK_FOLDERS = ("masks", "mask")
MASK_SUFFIX = "_mask"
# Held-out photos, truth and light of a benchmark: a run that opened them could cheat.
NEVER_OPENED = ("test", "test_gt", "val", "relit", "truth", "hdri", "exr")
_REMEDY = "name the folder of your photos with --images DIR"


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
        mask_model: An ONNX model that makes missing masks, or none.
    """

    images: tuple[Path, ...]
    videos: tuple[Path, ...] = ()
    masks: Path | None = None
    poses: Path | None = None
    solve_poses: bool = False
    recursive: bool = False
    mask_model: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FoundPhoto:
    """A file that is named like a photo; whether it is one, ingest finds out.

    Attributes:
        path: The file.
        name: What the user calls it: the file's name, with folders before it where that tells two apart.
        light_index: Number of its pass.
        mask: The mask that came with it, or none.
        refused: Why it is not opened, or empty.
        video: The video that it is a frame of, or none.
    """

    path: Path
    name: str
    light_index: int
    mask: Path | None
    refused: str
    video: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FoundVideo:
    """A video whose sharpest frames become photos.

    Attributes:
        path: The file.
        light_index: Number of its pass.
    """

    path: Path
    light_index: int


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files that a run starts from.

    Attributes:
        folder: The folder of the photos; with several passes, the first.
        photos: Photos in order of pass and name.
        poses_path: A file or folder of poses, or none.
        other_poses: Further ones beside the photos, which are not read.
        ignored: Names of files that are no photos.
        videos: Videos in order of pass and name.
        unmatched_masks: Names of masks that belong to no photo.
    """

    folder: Path
    photos: tuple[FoundPhoto, ...]
    poses_path: Path | None
    ignored: tuple[str, ...]
    other_poses: tuple[Path, ...] = ()
    videos: tuple[FoundVideo, ...] = ()
    unmatched_masks: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> dict[Path, str]:
        """Hash of each photo, mask and video that is a readable regular file."""
        opened = [path for p in self.photos if not p.refused for path in (p.path, p.mask)]
        opened += [video.path for video in self.videos]
        return {path: digest for path in opened if path and (digest := _sha256(path))}

    def key(self) -> str:
        """A hash over the names and the contents of every file."""
        digest = hashlib.sha256()
        for photo in self.photos:
            for path in (photo.path, photo.mask):
                content = self.sha256.get(path, "") if path else "none"  # ingest says what is wrong with a file
                digest.update(f"{photo.light_index} {photo.name}\0{content}\0".encode(errors="surrogateescape"))
        for video in self.videos:
            content = self.sha256.get(video.path, "")
            digest.update(f"{video.light_index} {video.path.name}\0{content}\0".encode(errors="surrogateescape"))
        for path in files_of(self.poses_path) if self.poses_path else ():
            digest.update(f"{path.name}\0{_sha256(path)}".encode(errors="surrogateescape"))
        return digest.hexdigest()


def discover(inputs: Inputs) -> Source:
    """Find what each `--images DIR` holds: photos, or exactly one folder of photos; masks; poses.

    Raises:
        UsageError: When a named folder is missing.
        InputError: When one holds no photos, or several folders of them, or masks of other photos.
    """
    for folder in (*inputs.images, *([inputs.masks] if inputs.masks else [])):
        remedy = "name a folder with --masks DIR" if folder == inputs.masks else _REMEDY
        if not folder.exists():
            raise UsageError("does not exist", path=folder, remedy=remedy)
        if not folder.is_dir():
            raise UsageError("is a file", path=folder, remedy=remedy)
    if len({folder.resolve() for folder in inputs.images}) < len(inputs.images):
        raise UsageError("two --images name one folder", remedy="each names the photos of another pass")
    if missing := next((video for video in inputs.videos if not video.exists()), None):
        raise UsageError("does not exist", path=missing, remedy="name a video file with --video FILE")
    if inputs.poses is not None and not inputs.poses.exists():
        raise UsageError("does not exist", path=inputs.poses, remedy="name a file or folder of poses with --poses")
    try:
        return _discover(inputs)
    except PermissionError as error:
        raise InputError("cannot be listed: permission denied", path=error.filename) from error


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What one `--images DIR` holds: paths, and why those that are not opened are not."""

    named: Path
    folder: Path
    photos: list[Path]
    masks: dict[Path, Path]
    unmatched_masks: list[str]
    ignored: list[str]
    videos: list[Path]


def _discover(inputs: Inputs) -> Source:
    passes = [_look_through(folder, inputs) for folder in inputs.images]
    found = [(index, one, path) for index, one in enumerate(passes) for path in one.photos]
    names = _names([(one, path) for _, one, path in found])
    photos = tuple(
        FoundPhoto(path=p, name=name, light_index=index, mask=one.masks.get(p), refused=_link_refusal(p, one.named))
        for (index, one, p), name in zip(found, names, strict=True)
    )
    videos = [FoundVideo(path=path, light_index=index) for index, one in enumerate(passes) for path in one.videos]
    videos += [FoundVideo(path=path, light_index=index) for index, path in enumerate(inputs.videos, len(passes))]
    poses = _pose_files(inputs, tuple(dict.fromkeys(folder for one in passes for folder in (one.named, one.folder))))
    return Source(
        folder=passes[0].folder if passes else inputs.videos[0].parent,
        photos=photos,
        poses_path=poses[0] if poses else None,
        other_poses=poses[1:],
        videos=tuple(videos),
        ignored=tuple(name for one in passes for name in one.ignored),
        unmatched_masks=tuple(dict.fromkeys(name for one in passes for name in one.unmatched_masks)),
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


def _link_refusal(path: Path, *roots: Path) -> str:
    """Why a link is not followed; empty for whatever is no link, or leads to a file inside one of the folders."""
    if not path.is_symlink():
        return ""
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        return "is a link that leads nowhere"
    except (OSError, RuntimeError):  # Python 3.13 raises the first for a circle, earlier ones the second
        return "is a link that leads in a circle"
    if not any(target.is_relative_to(root.resolve()) for root in roots):
        return f"is a link that leads out of the folder, to {target}; copy the file there"
    return ""


def _names(found: list[tuple[_Pass, Path]]) -> list[str]:
    """The shortest name of each photo that no other one has: the file's, below the named folder, or the whole path."""
    spellings = [
        (
            path.name,
            path.relative_to(one.folder).as_posix(),
            f"{one.named.resolve().name}/{path.relative_to(one.named).as_posix()}",
            str(path),
        )
        for one, path in found
    ]
    counts = [Counter(column) for column in zip(*spellings, strict=True)]
    return [next(s for s, count in zip(row, counts, strict=True) if count[s] == 1 or s == row[-1]) for row in spellings]


def _look_through(named: Path, inputs: Inputs) -> _Pass:
    """List one folder that the user named; where it holds no photos at all, its videos are meant."""
    videos = _videos_in(named)
    if videos and not any(_photos_in(folder) for folder in _folders_below(named)):
        return _Pass(named=named, folder=named, photos=[], masks={}, unmatched_masks=[], ignored=[], videos=videos)
    folder = named if inputs.recursive or _photos_in(named) else _only_photo_folder(named)
    folders = list(_folders_below(named)) if inputs.recursive else [folder]
    masks: dict[Path, Path] = {}
    photos: list[Path] = []
    for inner in folders:
        beside = _masks_beside(_photos_in(inner))
        photos += [p for p in _photos_in(inner) if p not in beside.values()]
        masks |= beside
    if not photos:
        raise _no_photos(named)
    ignored = [p.relative_to(folder).as_posix() for inner in folders for p in _entries(inner) if _is_foreign(p)]
    given, unmatched = _masks_from_folders(photos, folder, named, inputs.masks)
    return _Pass(
        named=named,
        folder=folder,
        photos=photos,
        masks=masks | given,
        unmatched_masks=unmatched,
        ignored=sorted(ignored),
        videos=[],
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda p: p.name)


def _photos_in(folder: Path) -> list[Path]:
    """Entries that are named like photos; hidden ones (`._x.jpg` of macOS) are not."""
    return [p for p in _entries(folder) if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith(".")]


def _videos_in(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if named_like_video(p.name)]


def _is_foreign(path: Path) -> bool:
    named_like_one = path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
    return not named_like_one and (path.is_symlink() or not path.is_dir())


def _folders_below(root: Path) -> Iterator[Path]:
    """`root` and its sub-folders, without those of masks, of benchmarks and of earlier runs; links are not followed."""
    for folder, inner, _ in os.walk(root):
        skipped = {*MASK_FOLDERS, *NEVER_OPENED}
        inner[:] = sorted(n for n in inner if n.lower() not in skipped and not n.startswith("."))
        inner[:] = [n for n in inner if not (Path(folder) / n / ".lock").exists()]  # an earlier run has a lock
        yield Path(folder)


def _only_photo_folder(named: Path) -> Path:
    candidates = [p for p in _folders_below(named) if p.parent == named and _photos_in(p)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(p.name for p in candidates[:4])
        raise InputError(
            f"holds {len(candidates)} folders of photos: {names}",
            path=named,
            remedy="name one of them; --recursive takes all as one pass; one --images for each if the object was "
            "turned over in between",
        )
    raise _no_photos(named)


def _no_photos(named: Path) -> InputError:
    deeper = next((p for p in _folders_below(named) if _photos_in(p)), None)
    if deeper is not None:
        where = deeper.relative_to(named).as_posix()
        return InputError(f"holds no photos, but {where} does", path=named, remedy="add --recursive, or name it")
    accepted = ", ".join(suffix for suffix in PHOTO_SUFFIXES if suffix not in RAW_SUFFIXES) + ", RAW, videos"
    return InputError("holds no photos", path=named, remedy=f"accepted: {accepted}; 40 or more make a good asset")


def _masks_beside(photos: list[Path]) -> dict[Path, Path]:
    """Masks that lie among the photos of a folder: `a_mask.png` of `a.jpg`."""
    masks: dict[Path, Path] = {}
    for mask in photos:
        base = mask.stem[: -len(MASK_SUFFIX)] if mask.stem.lower().endswith(MASK_SUFFIX) else ""
        masks |= {p: mask for p in photos if base and base in (p.stem, p.name) and p != mask}
    return masks


def _masks_from_folders(
    photos: list[Path], folder: Path, named: Path, chosen: Path | None
) -> tuple[dict[Path, Path], list[str]]:
    """Masks of a folder inside or beside the photos, matched by name; the second value names those left over.

    `a.jpg` has the mask `a.png`, or `a.jpg.png` where two photos share `a`, or `a_mask.png`. The folder may repeat the
    sub-folders of the photos.

    Raises:
        InputError: When no mask is named like a photo, or one like two photos, or one is a link that leads away.
    """
    masks: dict[Path, Path] = {}
    seen: dict[Path, None] = {}
    for parent in dict.fromkeys(p.parent for p in photos):
        mask_folder = chosen or _mask_folder(parent, folder, named)
        if mask_folder is None:
            continue
        inner = mask_folder / parent.relative_to(folder)
        for place in dict.fromkeys([inner, mask_folder] if inner.is_dir() else [mask_folder]):
            files = _photos_in(place)
            seen |= dict.fromkeys(files)
            masks = _matched([p for p in photos if p.parent == parent], files) | masks
    if not masks and seen:
        first = next(iter(seen))
        raise InputError(
            f"none of {len(seen)} masks ({first.name}, ...) is named like one of {len(photos)} photos, "
            f"as in {photos[0].stem}.png",
            path=first.parent,
            remedy="rename the masks, or move the folder away to have them made",
        )
    _refuse_shared(masks)
    for mask in masks.values():
        if refusal := _link_refusal(mask, named, mask.parent):
            raise InputError(refusal, path=mask)
    return masks, [p.name for p in seen if p not in masks.values()]


def _mask_folder(photo_folder: Path, folder: Path, named: Path) -> Path | None:
    """The folder of masks nearest to the photos: inside their folder, up to the named one, or beside theirs."""
    above = [p for p in photo_folder.parents if p.is_relative_to(named)]
    parents = dict.fromkeys([photo_folder, *above, named, folder.parent])
    return next((p / n for p in parents for n in MASK_FOLDERS if (p / n).is_dir()), None)


def _matched(photos: list[Path], files: list[Path]) -> dict[Path, Path]:
    by_stem = {p.stem: p for p in files}
    by_lower = {p.stem.lower(): p for p in files}
    masks: dict[Path, Path] = {}
    for photo in photos:
        for word in (photo.name, photo.stem, photo.name + MASK_SUFFIX, photo.stem + MASK_SUFFIX):
            mask = by_stem.get(word) or by_lower.get(word.lower())
            if mask is not None:
                masks[photo] = mask
                break  # the whole name wins
    return masks


def _refuse_shared(masks: dict[Path, Path]) -> None:
    owners: dict[Path, list[Path]] = {}
    for photo, mask in masks.items():
        owners.setdefault(mask, []).append(photo)
    for mask, photos in owners.items():
        if len(photos) > 1:
            raise InputError(
                f"could be the mask of {photos[0].name} and of {photos[1].name}",
                path=mask,
                remedy=f"name masks after the whole name, as in {photos[0].name}.png",
            )


def _sha256(path: Path) -> str:
    """Hash of a file's bytes, or empty when it is no regular file that can be read."""
    if not path.is_file() or not os.access(path, os.R_OK):
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
