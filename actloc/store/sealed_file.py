"""One video's feature file: HDF5 behind a seal that any flipped bit breaks (spec: reliability, R5, R12).

The first 512 bytes are an HDF5 user block, which HDF5 skips: they hold the sha256 of all that follows, and a CRC-32 of
both. Reading looks at the CRC-32, which takes a quarter of the time and finds every one or two flipped bits and every
run of up to 32; `prove` looks at the sha256 too. Any HDF5 tool opens the file.
"""

import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import files

DATASET = "features"
BLOCK_BYTES = 512  # the smallest user block HDF5 allows
_HEAD_BYTES = len(f"actloc features\nsha256 {64 * '0'}\n")
_PIECE_BYTES = 1 << 20
_CHECKSUM_BYTES = 4  # what fletcher32 adds to a chunk
_TORCH_DTYPES = {np.dtype(np.float32): torch.float32, np.dtype(np.float16): torch.float16}


class DamagedError(Exception):
    """A file is not what we wrote."""


def user_block(stream: BinaryIO) -> bytes:
    """The seal of a file whose bytes behind the user block are written; reads them piece by piece."""
    digest = hashlib.sha256()
    for piece in _pieces(stream):
        digest.update(piece)
    head = _head(digest.hexdigest())
    crc32 = zlib.crc32(head)
    for piece in _pieces(stream):
        crc32 = zlib.crc32(piece, crc32)
    return _block(head, crc32)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(BLOCK_BYTES)
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def _head(sha256: str) -> bytes:
    return f"actloc features\nsha256 {sha256}\n".encode()


def _block(head: bytes, crc32: int) -> bytes:
    """The head, and the CRC-32 of the head and of all behind the block."""
    return head + f"crc32 {crc32:08x}\n".encode().ljust(BLOCK_BYTES - len(head), b"\0")


@contextmanager
def opened(content: bytes, *, prove: bool = False) -> Iterator[h5py.File]:
    """The HDF5 file; raises DamagedError unless every byte is as it was written, or if what is done with it fails.

    `prove` looks at the sha256 where there is a CRC-32 too.
    """
    block, body = content[:BLOCK_BYTES], memoryview(content)[BLOCK_BYTES:]
    head = block[:_HEAD_BYTES]
    if prove or block != _block(head, zlib.crc32(body, zlib.crc32(head))):
        head = _head(files.sha256_of_bytes(body))
        crc32 = zlib.crc32(body, zlib.crc32(head))
        if block not in (_block(head, crc32), head.ljust(BLOCK_BYTES, b"\0")):  # old files have no CRC-32
            raise DamagedError("its bytes are not those that were written")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedError(f"it is not a feature file: {error}") from error


def values_as_stored(file: h5py.File) -> NDArray[Any]:
    """The features (T, C) in the type they are stored in, through HDF5's own checksums."""
    features: NDArray[Any] = _own_dataset(file)[()]
    return features


def values(file: h5py.File) -> Tensor:
    """The features (T, C) as float32, chunk by chunk past HDF5's checksums: the seal has proven their bytes.

    They lie in memory as (C, T), which networks take: a chunk is turned while it is in the processor's cache.
    """
    dataset = _own_dataset(file)
    rows = _chunk_rows(dataset)
    steps, channels = dataset.shape
    num_bytes = rows * channels * dataset.dtype.itemsize
    chunk = np.empty(num_bytes + _CHECKSUM_BYTES, np.uint8)
    # numpy converts float16 six times slower (spec: performance, finding 7)
    stored = torch.from_numpy(chunk[:num_bytes]).view(_TORCH_DTYPES[dataset.dtype]).view(rows, channels)
    features = torch.from_numpy(np.empty((channels, steps), np.float32))
    for start in range(0, steps, rows):
        dataset.id.read_direct_chunk((start, 0), out=chunk)
        features[:, start : start + rows] = stored[: steps - start].float().T.contiguous()
    return features.T


def _own_dataset(file: h5py.File) -> h5py.Dataset:
    """The dataset, if its values lie in this very file: links and virtual datasets could read any other (R12)."""
    if not isinstance(file.get(DATASET, getlink=True), h5py.HardLink):
        raise DamagedError("its features are a link to elsewhere")
    dataset = file[DATASET]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise DamagedError("its features lie elsewhere")
    if dataset.ndim != 2 or dataset.dtype not in _TORCH_DTYPES:
        raise DamagedError("its features are no numbers with two dimensions")
    return dataset


def _chunk_rows(dataset: h5py.Dataset) -> int:
    """Steps per chunk; raises DamagedError if more than a checksum stands between a chunk's bytes and its values."""
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if filters != [h5py.h5z.FILTER_FLETCHER32] or dataset.chunks[1] != dataset.shape[1]:
        raise DamagedError("its features are not laid out as actloc writes them")
    return int(dataset.chunks[0])


def is_finite(values: Tensor) -> bool:
    """Whether no value is nan or inf: the sum tells in one pass, unless it overflows itself."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())
