"""Reading and writing whole files: only regular files come in, only complete files go out."""

import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError, ResourceError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, *, max_bytes: int) -> BinaryIO:
    """Open a regular file for reading; pipes and devices are refused without waiting for them.

    Raises:
        InputError: When the file is missing, unreadable, no regular file, empty or larger than `max_bytes`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        dangling = path.is_symlink() and isinstance(error, FileNotFoundError)
        reason = "a link that leads nowhere" if dangling else error.strerror
        raise InputError(f"cannot be opened: {reason}", path=path) from error
    status = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file", path=path)
        if status.st_size > max_bytes:
            raise InputError(f"{status.st_size / 2**20:.0f} MiB exceed the limit of {max_bytes / 2**20:.0f}", path=path)
        if status.st_size == 0:
            raise InputError("is empty (0 bytes)", path=path)
    except InputError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file; errors as in `open_regular`, and `InputError` when reading fails."""
    with open_regular(path, max_bytes=max_bytes) as file:
        try:
            return file.read(
                min(max_bytes, os.fstat(file.fileno()).st_size)
            )  # it would set aside as much as it is told
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", path=path) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`: a reader sees the old file or the whole new one, also after a crash.

    Raises:
        ResourceError: When the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        raise ResourceError(
            f"cannot be written: {error.strerror}; {len(data) / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free",
            path=path,
        ) from error
