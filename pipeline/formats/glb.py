"""The GLB container: a JSON chunk and a binary chunk (glTF 2.0, section 4.4), and the data that JSON points to."""

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from pipeline.errors import InputError

_MAGIC, _VERSION = b"glTF", 2
_JSON, _BINARY = b"JSON", b"BIN\0"
_MAX_JSON_BYTES = 64 * 2**20
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def pack(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB file of a glTF document and its one buffer; equal input gives equal bytes."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    chunks = b"".join(
        struct.pack("<I4s", len(body), kind) + body
        for kind, body in ((_JSON, _padded(text, b" ")), (_BINARY, _padded(binary, b"\0")))
    )
    return struct.pack("<4sII", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def _padded(body: bytes, filler: bytes) -> bytes:
    return body + filler * (-len(body) % 4)


@dataclass(frozen=True, eq=False, kw_only=True)
class GlbDocument:
    """A parsed file: its JSON, its binary chunk, and its path for messages."""

    json: dict[str, Any]
    binary: bytes
    path: Path

    def item(self, kind: str, index: object) -> Mapping[str, Any]:
        """Entry `index` of a top-level array such as "nodes"."""
        items = self.json.get(kind, [])
        if not isinstance(index, int) or not 0 <= index < len(items):
            raise InputError(f"refers to {kind}[{index}] of {len(items)}", path=self.path)
        if not isinstance(items[index], dict):
            raise InputError(f"{kind}[{index}] is not an object", path=self.path)
        return items[index]

    def view(self, index: object) -> tuple[bytes, int]:
        """The bytes of a buffer view, and its stride (0: tightly packed)."""
        view = self.item("bufferViews", index)
        buffer = self.item("buffers", view["buffer"])
        data = self.data_uri(buffer["uri"]) if "uri" in buffer else self.binary
        start, size = view.get("byteOffset", 0), view["byteLength"]
        if start < 0 or size < 0 or start + size > len(data):
            raise InputError(f"bufferViews[{index}] ends at byte {start + size} of {len(data)}", path=self.path)
        return data[start : start + size], view.get("byteStride", 0)

    def accessor(self, index: object, *, width: int) -> Float64[np.ndarray, "count width"]:
        """The numbers of an accessor with `width` components; normalised integers become fractions."""
        accessor = self.item("accessors", index)
        kind = np.dtype(_COMPONENTS[accessor["componentType"]])
        if _WIDTHS[accessor["type"]] != width or "sparse" in accessor or "bufferView" not in accessor:
            raise InputError(f"accessors[{index}] is sparse or a {accessor['type']} out of place", path=self.path)
        data, stride = self.view(accessor["bufferView"])
        stride = stride or kind.itemsize * width
        start, count = accessor.get("byteOffset", 0), accessor["count"]
        end = start + stride * (count - 1) + kind.itemsize * width
        if start < 0 or count < 1 or stride < kind.itemsize * width or end > len(data):
            raise InputError(f"accessors[{index}] ends at byte {end} of {len(data)}", path=self.path)
        values = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize)).astype(np.float64)
        return np.maximum(values / np.iinfo(kind).max, -1.0) if accessor.get("normalized") else values

    def data_uri(self, uri: str) -> bytes:
        """The bytes of a data URI; every other URI is refused, so that no other file is ever opened."""
        head, comma, body = uri.partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise InputError(
                f"refers to another file ({uri[:60]!r})", path=self.path, remedy="use a self-contained GLB"
            )
        try:
            return base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise InputError(f"holds a broken data URI: {error}", path=self.path) from error


def unpack(data: bytes, path: Path) -> GlbDocument:
    """Parse a GLB file; `path` is for messages only.

    Raises:
        InputError: When the data is no GLB file of version 2, truncated, or its JSON is broken or over 64 MiB.
    """
    if len(data) < 20 or data[:4] != _MAGIC:
        raise InputError("is not a GLB file", path=path)
    _, version, length = struct.unpack_from("<4sII", data)
    if version != _VERSION:
        raise InputError(f"is glTF version {version}, {_VERSION} is needed", path=path)
    if length > len(data):
        raise InputError(f"is truncated: {len(data)} of {length} bytes", path=path)
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > length:
            raise InputError(f"holds a chunk of {size} bytes that ends after the file", path=path)
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    return GlbDocument(json=_parse(chunks.get(_JSON, b""), path), binary=chunks.get(_BINARY, b""), path=path)


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    if len(text) > _MAX_JSON_BYTES:
        raise InputError(f"holds {len(text) / 2**20:.0f} MiB of JSON, limit {_MAX_JSON_BYTES / 2**20:.0f}", path=path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"holds broken JSON: {error}", path=path) from error
    if not isinstance(document, dict):
        raise InputError("holds JSON that is not an object", path=path)
    return document
