"""One video's feature file: HDF5 with a seal, checksums that any flipped bit breaks, so that no damage goes unnoticed.

The first 512 bytes are an HDF5 user block, which HDF5 skips: they hold the sha256 of all that follows, and a CRC-32 of
both. Reading checks the CRC-32, which takes a quarter of the time and detects any one or two flipped bits and any run
of up to 32; `prove` checks the sha256 too. Parts of a long video are read without the rest: HDF5 has checksums of its
own for each chunk and, in the format of its version 1.10, for all that describes them. Any HDF5 tool of today opens the
file.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from actloc import files
from actloc.damage import is_hollow, is_of_the_system, is_ours
from actloc.store.info import FeatureInfo, recorded

if TYPE_CHECKING:
    from torch import Tensor

DATASET = "features"
BLOCK_BYTES = 512  # the smallest user block HDF5 allows
_HEAD_BYTES = len(f"actloc features\nsha256 {64 * '0'}\n")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_INFO = TypeAdapter(FeatureInfo)
FileState = tuple[int, int, int]
"""Inode, size and time of a file."""
_PIECE_BYTES = 1 << 20
HDF5_FORMAT = "v110"
"""The oldest version of HDF5 that reads the files, as h5py names it."""
_HDF5_MARK = b"\x89HDF\r\n\x1a\n"
_FIRST_WITH_CHECKSUMS = b"\x03"
"""The version of what follows the mark (the superblock), of the format above."""
_CHECKSUM_BYTES = 4  # fletcher32 appends this to each chunk
_DTYPES = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16"}
"""The types of stored features, with torch's names of them."""


class DamagedError(Exception):
    """A file is not as actloc wrote it."""


def is_others(path: Path) -> bool:
    """Whether a file is plain HDF5, which actloc does not write; a damaged feature file is not."""
    with path.open("rb") as stream:
        return stream.read(len(_HDF5)) == _HDF5


def user_block(stream: BinaryIO) -> bytes:
    """The seal of a file whose bytes after the user block are written; reads them piece by piece."""
    digest = hashlib.sha256()
    for piece in _pieces(stream):
        digest.update(piece)
    head = _head(digest.hexdigest())
    return _block(head, _crc32(stream, head))


def _checks_what_it_reads(stream: BinaryIO) -> bool:
    """Whether the file has checksums of all that HDF5 reads from it.

    Older formats have none of what describes the array: a flipped bit there may give other features or end the process.
    """
    stream.seek(BLOCK_BYTES + len(_HDF5_MARK))
    return stream.read(1) >= _FIRST_WITH_CHECKSUMS


def check_seal(stream: BinaryIO) -> None:
    """Raises DamagedError unless every byte of the file is as it was written; reads it piece by piece."""
    stream.seek(0)
    block = stream.read(BLOCK_BYTES)
    head = block[:_HEAD_BYTES]
    if block == _block(head, _crc32(stream, head)):
        return
    own = user_block(stream)
    if block not in (own, own[:_HEAD_BYTES].ljust(BLOCK_BYTES, b"\0")):  # old files have no CRC-32
        raise DamagedError("its bytes do not match its checksum")


def _crc32(stream: BinaryIO, head: bytes) -> int:
    crc32 = zlib.crc32(head)
    for piece in _pieces(stream):
        crc32 = zlib.crc32(piece, crc32)
    return crc32


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(BLOCK_BYTES)
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def _head(sha256: str) -> bytes:
    return f"actloc features\nsha256 {sha256}\n".encode()


def _block(head: bytes, crc32: int) -> bytes:
    """The user block: the head, and `crc32` of the head and of all bytes after the block."""
    return head + f"crc32 {crc32:08x}\n".encode().ljust(BLOCK_BYTES - len(head), b"\0")


@contextmanager
def opened(content: bytes, *, prove: bool = False) -> Iterator[h5py.File]:
    """Opens the HDF5 file; raises DamagedError unless every byte is as it was written, or if reading from it fails.

    `prove` checks the sha256 even if the CRC-32 is right.
    """
    block, body = content[:BLOCK_BYTES], memoryview(content)[BLOCK_BYTES:]
    head = block[:_HEAD_BYTES]
    if prove or block != _block(head, zlib.crc32(body, zlib.crc32(head))):
        head = _head(files.sha256_of_bytes(body))
        crc32 = zlib.crc32(body, zlib.crc32(head))
        if block not in (_block(head, crc32), head.ljust(BLOCK_BYTES, b"\0")):  # old files have no CRC-32
            raise DamagedError("its bytes do not match its checksum")
    with _hdf5(io.BytesIO(content)) as file:
        yield file


@contextmanager
def opened_in_place(
    path: Path, known: FileState | None = None, *, is_checked: bool = False
) -> Iterator[tuple[h5py.File, FileState]]:
    """Opens the HDF5 file without reading it into memory; raises as `opened`, and OSError if it cannot be read.

    Yields what tells this file from any other, too. Unless every byte `is_checked` now, HDF5 checks what is read when
    it is read. Of old files, where it cannot, every byte is checked now, but of one that is still the `known` one.
    """
    files.check_regular(path)
    with files.naming(path), path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        state = status.st_ino, status.st_size, status.st_mtime_ns
        if is_checked or (state != known and not _checks_what_it_reads(stream)):
            check_seal(stream)
        with _hdf5(stream) as file:
            yield file, state


@contextmanager
def _hdf5(stream: BinaryIO) -> Iterator[h5py.File]:
    """Opens the HDF5 file; raises DamagedError for what HDF5 cannot read."""
    try:
        with h5py.File(stream, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_ours(error) or is_of_the_system(error):
            raise
        raise DamagedError(f"it is not a feature file: {error}") from error


def info_in(file: h5py.File) -> FeatureInfo:
    """The facts about the features that the file records; raises DamagedError, or what pydantic and HDF5 raise."""
    later = "vectors_per_clip"  # which older files, and those where it is 1, do not say
    stored = {field.name: file.attrs[field.name] for field in fields(FeatureInfo) if field.name != later}
    stored[later] = file.attrs.get(later, 1)
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in stored.items()}
    if not isinstance(values["weights_sha256"], str):
        raise DamagedError("its weights_sha256 is not text")
    info = _INFO.validate_python({**values, "weights_sha256": values["weights_sha256"] or None})
    if not isinstance(json.loads(info.recipe), dict):
        raise DamagedError("its recipe is not an object")
    return info


def values_as_stored(file: h5py.File) -> NDArray[Any]:
    """The features (T, C) in the type they are stored in; HDF5 checks its own checksums too."""
    features: NDArray[Any] = _own_dataset(file)[()]
    return features


def fingerprint(features: NDArray[Any], info: FeatureInfo) -> str:
    """The sha256 of a file's content, independent of HDF5: metadata as JSON, then the bytes of the array."""
    metadata = json.dumps(recorded(info), sort_keys=True).encode()
    return files.sha256_of_bytes(metadata, np.ascontiguousarray(features).tobytes())


def proven(content: bytes) -> tuple[FeatureInfo, NDArray[Any]]:
    """Info and features (T, C) as stored, after checking every checksum; raises DamagedError."""
    with opened(content, prove=True) as file:
        info, features = info_in(file), values_as_stored(file)
        written = file.attrs["sha256"]
    if written != fingerprint(features, info):
        raise DamagedError("its features do not match their checksum")
    return info, features


def rows(file: h5py.File, start: int, end: int) -> Tensor:
    """Features (n, C) float32 of the steps from `start` to `end`; HDF5 checks its own checksums of what it reads."""
    import torch

    return torch.from_numpy(_own_dataset(file)[start:end]).float()


def values(file: h5py.File) -> Tensor:
    """The features (T, C) as float32, read chunk by chunk without HDF5's checksums: the seal has verified their bytes.

    In memory they are (C, T), as networks expect: each chunk is transposed while it is in the processor's cache.
    """
    import torch

    dataset = _own_dataset(file)
    rows = _chunk_rows(dataset)
    steps, channels = dataset.shape
    num_bytes = rows * channels * dataset.dtype.itemsize
    chunk = np.empty(num_bytes + _CHECKSUM_BYTES, np.uint8)
    # torch converts float16 six times faster than numpy
    stored = torch.from_numpy(chunk[:num_bytes]).view(getattr(torch, _DTYPES[dataset.dtype])).view(rows, channels)
    features = torch.from_numpy(np.empty((channels, steps), np.float32))
    for start in range(0, steps, rows):
        dataset.id.read_direct_chunk((start, 0), out=chunk)
        features[:, start : start + rows] = stored[: steps - start].float().T.contiguous()
    return features.T


def _own_dataset(file: h5py.File) -> h5py.Dataset:
    """The dataset, if its values are in this file: links and virtual datasets could read any file of the machine."""
    if not isinstance(file.get(DATASET, getlink=True), h5py.HardLink):
        raise DamagedError("its features are a link to elsewhere")
    dataset = file[DATASET]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise DamagedError("its features are stored elsewhere")
    if dataset.ndim != 2 or dataset.dtype not in _DTYPES or is_hollow(dataset):
        raise DamagedError("its features are not a two-dimensional array of float32 or float16")
    return dataset


def _chunk_rows(dataset: h5py.Dataset) -> int:
    """Steps per chunk; raises DamagedError unless a chunk's bytes are its values and a checksum."""
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if filters != [h5py.h5z.FILTER_FLETCHER32] or dataset.chunks[1] != dataset.shape[1]:
        raise DamagedError("its features are not laid out as actloc writes them")
    return int(dataset.chunks[0])


def is_finite(values: Tensor) -> bool:
    """Whether no value is nan or inf. A finite sum shows it in one pass; the sum itself may overflow."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())
