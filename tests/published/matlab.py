"""Reads the numbers in a MATLAB 5 file: just enough for published results, so that nobody needs SciPy.

Form: "MAT-File Format", MathWorks, chapter 1: elements of a type, a length and data padded to 8 bytes.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_HEADER_BYTES = 128
_COMPRESSED, _MATRIX, _CELL, _STRUCT = 15, 14, 1, 2
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
_TYPES |= {17: "u2"}


def read(path: Path) -> dict[str, Any]:
    """Every variable: matrices as arrays, structs as dictionaries, or a list of them where there are several."""
    return dict(map(_matrix, _top_level(path.read_bytes()[_HEADER_BYTES:])))


def _top_level(data: bytes) -> Iterator[bytes]:
    for kind, content in _elements(data):
        yield next(_elements(zlib.decompress(content)))[1] if kind == _COMPRESSED else content


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<II", data, place)
        if kind >> 16:  # up to four bytes of data stand in the tag itself
            yield kind & 0xFFFF, data[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + (length if kind == _COMPRESSED else -(-length // 8) * 8)


def _matrix(data: bytes) -> tuple[str, Any]:
    if not data:
        return "", np.zeros((0, 0))
    (_, flags), (_, shape_data), (_, name), *parts = _elements(data)
    shape = np.frombuffer(shape_data, "<i4")
    if flags[0] == _CELL:
        return name.decode(), [_matrix(content)[1] for _, content in parts]
    if flags[0] == _STRUCT:
        return name.decode(), _struct(parts, int(np.prod(shape)))
    kind, content = parts[0]
    return name.decode(), np.frombuffer(content, f"<{_TYPES[kind]}").reshape(shape, order="F")


def _struct(parts: list[tuple[int, bytes]], count: int) -> Any:
    width = int(np.frombuffer(parts[0][1], "<i4")[0])
    names = [parts[1][1][i : i + width].rstrip(b"\0").decode() for i in range(0, len(parts[1][1]), width)]
    values = [_matrix(content)[1] for _, content in parts[2:]]
    items = [dict(zip(names, values[i * len(names) :], strict=False)) for i in range(count)]
    return items[0] if count == 1 else items
