"""What the bytes of a file say about what it is and whether it is whole; no pixel is decoded."""

import re
import struct
import zlib
from collections.abc import Iterator

MAX_SCANS = 100  # progressive JPEGs of cameras and editors have 10 or so; each scan costs a pass over all pixels

EXR_MAGIC = b"\x76\x2f\x31\x01"
HDR_MAGICS = (b"#?RADIANCE", b"#?RGBE")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_MOV_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip"}
_VIDEO_MAGICS = (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_RAW_MAGICS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
RAW_SUFFIXES = (
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .pef .srw .raw .rwl .iiq .3fr .fff .mrw .x3f .kdc .dcr"
).split()
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".3gp", ".wmv", ".mpg", ".mpeg")
_DNG_VERSION, _PHOTOMETRIC, _COMPRESSION = 0xC612, 0x0106, 0x0103
_SENSOR_PHOTOMETRIC = (32803, 34892)  # colour filter array, linear raw (DNG 1.7, chapter 4)
_MARKERS_AFTER_SCAN = {0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")


def holds_heif(data: bytes) -> bool:
    """Whether a file is a HEIC or HEIF picture, of a codec other than AV1 (which Pillow reads by itself)."""
    brands = _brands(data)
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def holds_raw(data: bytes, suffix: str) -> bool:
    """Whether a file is a camera's RAW: by its signature, by tags of a DNG, else a TIFF named like one."""
    if data.startswith(_RAW_MAGICS) or b"crx " in _brands(data):
        return True
    if not data.startswith(TIFF_MAGICS):
        return False
    tags = _first_directory(data)
    sensor = tags.get(_PHOTOMETRIC) in _SENSOR_PHOTOMETRIC
    return data[8:10] == b"CR" or _DNG_VERSION in tags or sensor or suffix.lower() in RAW_SUFFIXES


def named_like_video(name: str) -> bool:
    """Whether a file's name is that of a video, and not a hidden one."""
    return name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")


def holds_video(head: bytes) -> bool:
    """Whether a file begins like a container of video: MP4, MOV, AVI, MKV, WebM, MPEG, FLV or WMV."""
    if head[4:8] == b"ftyp":
        return not holds_heif(head) and not _brands(head) & (_AVIF_BRANDS | {b"crx "})
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    return head[4:8] in _MOV_ATOMS or head.startswith(_VIDEO_MAGICS) or head[::188][:4] == b"G" * 4


def kind_of(data: bytes) -> str:
    """What a file that is no readable picture seems to be, for an error message."""
    head = data[:512].lstrip().lower()
    if holds_video(data):
        return "a video"
    if holds_heif(data):
        return "a HEIC or HEIF picture"
    if head.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if data[:4] == b"%PDF" or data[:2] == b"PK":
        return "a document or archive"
    if data.startswith((JPEG_MAGIC, PNG_MAGIC)):
        return "a picture with a damaged header"
    return "text" if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]) else "unknown content"


def truncated_at(data: bytes) -> int | None:
    """The number of bytes after which a JPEG, PNG or WebP file stops too early, or none when it has its end."""
    if data.startswith(JPEG_MAGIC):
        ended = data.rstrip(b"\0").endswith(b"\xff\xd9") or _jpeg_markers(data)[-1:] == [0xD9]
        return None if ended else len(data)
    if data.startswith(PNG_MAGIC):
        return None if any(kind == b"IEND" for _, kind, _ in _png_chunks(data)) else len(data)
    if data[:4] == b"RIFF" and len(data) >= 12:
        return len(data) if struct.unpack_from("<I", data, 4)[0] + 8 > len(data) else None
    return None


def scan_count(data: bytes) -> int:
    """How many scans a JPEG has, or 0 for any other file; counting stops a little above the limit."""
    return _jpeg_markers(data).count(0xDA) if data.startswith(JPEG_MAGIC) else 0


def damaged_at(data: bytes) -> int | None:
    """Where a file is damaged in a way that Pillow passes over in silence, or none.

    That is a marker inside a JPEG's pixels where none can be, or a checksum of PNG's that does not fit.
    """
    if data.startswith(PNG_MAGIC):
        return next((at for at, kind, whole in _png_chunks(data) if kind[0] < 0x60 and not whole), None)
    if not data.startswith(JPEG_MAGIC):
        return None
    found = _jpeg_segments(data)
    first_scan = next((k for k, (_, marker) in enumerate(found) if marker == 0xDA), len(found))
    return next((at for at, marker in found[first_scan:] if marker not in _MARKERS_AFTER_SCAN), None)


def _jpeg_markers(data: bytes) -> list[int]:
    return [marker for _, marker in _jpeg_segments(data)]


def _jpeg_segments(data: bytes) -> list[tuple[int, int]]:
    """Place and marker of a JPEG's segments (ITU-T T.81, B.1.1), up to its end or to more scans than are allowed."""
    segments: list[tuple[int, int]] = []
    at, scans = 2, 0
    while scans <= MAX_SCANS and (found := _MARKER.search(data, at)):
        marker = found[1][0]
        segments.append((found.start(), marker))
        scans += marker == 0xDA
        if marker == 0xD9:
            break
        length = struct.unpack_from(">H", data, found.end())[0] if found.end() + 2 <= len(data) else 2
        at = found.end() + (0 if marker in (0x01, 0xD8) else max(length, 2))
    return segments


def _png_chunks(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Place and kind of a PNG's complete chunks, and whether the checksum fits (critical ones have a capital)."""
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            return
        yield at, kind, zlib.crc32(memoryview(data)[at + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if kind == b"IEND":
            return
        at = end + 4


def _brands(data: bytes) -> set[bytes]:
    """The major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(struct.unpack_from(">I", data)[0], len(data), 256)
    return {data[at : at + 4] for at in (8, *range(16, end - 3, 4))}


def _first_directory(data: bytes) -> dict[int, int]:
    """Tags of a TIFF's first directory with the first 16 or 32 bits of their values; empty when it lies outside."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2] in b"+" or data[3] in b"+" or len(data) < 8:
        return {}
    start = struct.unpack_from(order + "I", data, 4)[0]
    if start + 2 > len(data):
        return {}
    count = min(struct.unpack_from(order + "H", data, start)[0], (len(data) - start - 2) // 12)
    tags = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)[0]
    return tags
