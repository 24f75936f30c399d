"""What stands between a foreign glTF file and pygltflib: the container and its JSON checked, its data within bounds.

pygltflib itself opens whatever file a URI names, and its parser raises many kinds of errors: it is given checked JSON
only, and none of its functions that load.
"""

import base64
import binascii
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64

from pipeline.errors import InputError

_MAGIC, _VERSION = b"glTF", 2
_JSON, _BINARY = b"JSON", b"BIN\0"
_MAX_JSON_BYTES = 256 * 2**20  # with data URIs in it
_MAX_OBJECTS = 2**16  # pygltflib needs 0.3 ms for each
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}

GltfObject: TypeAlias = Any  # one of pygltflib's classes, which only gltf.py imports


@dataclass(frozen=True, eq=False, kw_only=True)
class GlbDocument:
    """A parsed file: pygltflib's GLTF2, the binary chunk, the path for messages, and data URIs already decoded."""

    gltf: GltfObject
    binary: bytes
    path: Path
    decoded: dict[str, bytes] = field(default_factory=dict)

    def item(self, kind: str, index: object) -> GltfObject:
        """Entry `index` of a top-level array such as "nodes"."""
        items = getattr(self.gltf, kind)
        if not isinstance(index, int) or not 0 <= index < len(items):
            raise InputError(f"refers to {kind}[{index}] of {len(items)}", path=self.path)
        return items[index]

    def view(self, index: object) -> tuple[bytes, int]:
        """The bytes of a buffer view, and its stride (0: tightly packed)."""
        view = self.item("bufferViews", index)
        uri = self.item("buffers", view.buffer).uri
        data = self.binary if uri is None else self.data_uri(uri)
        start, size = view.byteOffset or 0, view.byteLength
        if size is None or not 0 <= start <= start + size <= len(data):
            raise InputError(f"bufferViews[{index}] has {size} bytes from {start}, of {len(data)}", path=self.path)
        return data[start : start + size], view.byteStride or 0

    def accessor(self, index: object, *, width: int) -> Float64[np.ndarray, "count width"]:
        """The numbers of an accessor with `width` components; normalised integers become fractions."""
        accessor = self.item("accessors", index)
        component, count = _COMPONENTS.get(accessor.componentType), accessor.count
        if component is None or count is None or accessor.sparse or _WIDTHS.get(accessor.type) != width:
            raise InputError(f"accessors[{index}] is sparse, incomplete or not {width} wide", path=self.path)
        kind = np.dtype(component)
        data, stride = self.view(accessor.bufferView)
        stride = stride or kind.itemsize * width
        start = accessor.byteOffset or 0
        end = start + stride * (count - 1) + kind.itemsize * width
        if start < 0 or count < 1 or stride < kind.itemsize * width or end > len(data):
            raise InputError(f"accessors[{index}] ends at byte {end} of {len(data)}", path=self.path)
        values = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize)).astype(np.float64)
        return np.maximum(values / np.iinfo(kind).max, -1.0) if accessor.normalized else values

    def data_uri(self, uri: str) -> bytes:
        """The bytes of a data URI; every other URI is refused, so that no other file is ever opened."""
        if uri in self.decoded:
            return self.decoded[uri]
        head, comma, body = uri.partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise InputError(
                f"refers to another file ({uri[:60]!r})", path=self.path, remedy="use a self-contained GLB"
            )
        try:
            self.decoded[uri] = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise InputError(f"holds a broken data URI: {error}", path=self.path) from error
        return self.decoded[uri]


def unpack(data: bytes, path: Path) -> tuple[str, bytes]:
    """The JSON text of a GLB file or a .gltf file, an object whose arrays hold objects, and the binary chunk.

    Raises:
        InputError: When the data is neither, not version 2, truncated, or its JSON is broken or over a limit;
            `path` is for the message.
    """
    if data[:64].lstrip().startswith(b"{"):
        return _checked(data, path), b""
    if len(data) < 20 or data[:4] != _MAGIC:
        raise InputError("is not a GLB file, nor glTF in JSON", path=path)
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
    return _checked(chunks.get(_JSON, b""), path), chunks.get(_BINARY, b"")


def _checked(chunk: bytes, path: Path) -> str:
    if len(chunk) > _MAX_JSON_BYTES:
        raise InputError(f"holds {len(chunk) / 2**20:.0f} MiB of JSON, limit {_MAX_JSON_BYTES / 2**20:.0f}", path=path)
    if (objects := chunk.count(b"{")) > _MAX_OBJECTS:
        raise InputError(f"holds {objects} objects of JSON, limit {_MAX_OBJECTS}", path=path)
    try:
        text = chunk.decode()
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"holds broken JSON: {error}", path=path) from error
    if not isinstance(document, dict):
        raise InputError("holds JSON that is not an object", path=path)
    for kind, items in document.items():
        if isinstance(items, list) and not kind.startswith("extensions"):
            for i, item in enumerate(items):
                if not isinstance(item, dict):
                    raise InputError(f"{kind}[{i}] is not an object", path=path)
    return text
