"""Files of poses that other programs left: which of them a folder holds, and the right reader for each."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats import colmap, llff, metashape, realityscan, transforms_json
from pipeline.formats.given_cameras import GivenPoses, SizeOf

_TRANSFORMS = ("transforms.json", "transforms_train.json")  # those of test and val hold photos that are held out
_LLFF = "poses_bounds.npy"
_MODELS = ("sparse", "colmap/sparse")
_SNIFF_BYTES = 4096
READ = "transforms.json, a COLMAP model, poses_bounds.npy, cameras of Metashape (.xml) or RealityScan (.csv, .xmp)"


def find_pose_files(folder: Path) -> tuple[Path, ...]:
    """Everything in `folder` that `read_poses` takes, the one to be preferred first."""
    found = [folder / name for name in _TRANSFORMS if (folder / name).is_file()]
    models = [folder, *(m for name in _MODELS for m in (folder / name, *_sub_folders(folder / name)))]
    found += sorted((m for m in models if colmap.model_files(m)), key=_size_of_model, reverse=True)
    found += [folder / _LLFF] if (folder / _LLFF).is_file() else []
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    found += [p for p in files if p.suffix.lower() == ".xml" and b"<chunk" in _first_bytes(p)]
    found += [p for p in files if p.suffix.lower() == ".csv" and realityscan.is_table(_first_bytes(p))]
    return (*found, *([folder] if realityscan.xmp_files(folder) and folder not in found else []))


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def _size_of_model(folder: Path) -> int:
    """Of several models of one capture, the one with the most images is meant."""
    return colmap.model_files(folder)[1].stat().st_size


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SNIFF_BYTES)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that reading `path` opens: its own, a model's, or all XMP files of a folder."""
    return colmap.model_files(path) or realityscan.xmp_files(path) if path.is_dir() else (path,)


def read_poses(path: Path, *, size_of: SizeOf, names: Sequence[str]) -> GivenPoses:
    """Read a file or folder of poses.

    Args:
        path: What `find_pose_files` found, or what the user named: also a file of a COLMAP model.
        size_of: The size of a photo, for files that do not tell it.
        names: All photos of the capture, for files that know them by their order only.

    Raises:
        InputError: When it is of no format that is read, or is damaged.
    """
    if path.is_dir():
        return colmap.read_colmap(path) if colmap.model_files(path) else realityscan.read_xmp_folder(path, size_of)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return transforms_json.read_given_transforms(path, size_of)
    if suffix == ".npy":
        return llff.read_llff(path, names)
    if suffix == ".xml":
        return metashape.read_metashape(path)
    if suffix == ".csv":
        return realityscan.read_table(path, size_of)
    if path in colmap.model_files(path.parent):
        return colmap.read_colmap(path.parent)
    raise InputError("is no file of poses that is read", path=path, remedy=f"read are {READ}")
