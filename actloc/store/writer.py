"""Writes one video's features as their rows come, in memory that no length changes (spec: reliability, R1, R19).

Rows go to a hidden file beside the final one; when the last has come, the sealed HDF5 file is built from it in one
pass and renamed into place. Its bytes do not depend on how the rows came.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from actloc import files
from actloc.errors import VideoError
from actloc.fault_injection import inject
from actloc.settings.choices import Dtype
from actloc.store.sealed_file import BLOCK_BYTES, DATASET, user_block

if TYPE_CHECKING:
    from actloc.store.info import FeatureInfo

_CHUNK_ROWS = 256


class FeatureWriter:
    """The features of one video on their way to `path`; what is not finished leaves nothing behind.

    A context manager that discards what is not finished.
    """

    def __init__(self, path: Path, dtype: Dtype) -> None:
        self._path = path
        self.dtype: Dtype = dtype
        """How the rows are stored."""
        self._block: list[NDArray[Any]] = []
        """Rows that are not on disk yet: fewer than a chunk."""
        self._steps = self._channels = self._spilled = 0
        self._rows_path = files.temporary_path(path.with_name(f"{path.name}.rows"))
        files.make_folder(path.parent)
        inject("open")
        self._rows = self._rows_path.open("w+b")

    def append(self, rows: NDArray[np.float32]) -> None:
        """Takes the next rows (n, C); raises VideoError `non_finite` or `out_of_range` where numbers would be lost."""
        self._block.append(_as_stored(rows, np.dtype(self.dtype)))
        self._steps += rows.shape[0]
        self._channels = rows.shape[1]
        if self._steps - self._spilled >= _CHUNK_ROWS:
            self._spill()

    def _spill(self) -> None:
        content = np.concatenate(self._block)
        self._block.clear()
        self._spilled = self._steps
        inject("write")
        self._rows.write(content.data)
        self._rows.flush()

    def finish(self, info: "FeatureInfo") -> "FeatureInfo":
        """Puts the file in place; returns what is known of the features, their steps and channels filled in."""
        assert self._steps, "a video without rows is told by whoever makes them"
        if self._block:
            self._spill()
        info = replace(info, steps=self._steps, channels=self._channels)
        temporary = files.temporary_path(self._path)
        try:
            inject("open")
            with PatientFile(temporary, "w+") as file:
                inject("write")
                self._build(file, info)
                file.tell_failure()
            with temporary.open("r+b") as stream:
                block = user_block(stream)
                stream.seek(0)
                stream.write(block)
                stream.flush()
                inject("fsync")
                os.fsync(stream.fileno())
            files.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)
            self.discard()
        return info

    def _build(self, stream: "PatientFile", info: "FeatureInfo") -> None:
        """HDF5 out of the rows, a chunk at a time."""
        metadata = asdict(info)
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        chunks = (min(_CHUNK_ROWS, self._steps), self._channels)
        with h5py.File(stream, "w", userblock_size=BLOCK_BYTES) as file:
            dataset = file.create_dataset(
                DATASET, (self._steps, self._channels), np.dtype(self.dtype), chunks=chunks, fletcher32=True
            )
            for start, block in self._blocks():
                digest.update(block.data)
                dataset[start : start + len(block)] = block
                stream.tell_failure()
            del dataset  # closes it, so that its last chunk lies before the attributes as all others do
            for name, value in metadata.items():
                file.attrs[name] = "" if value is None else value
            file.attrs["sha256"] = digest.hexdigest()

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        self._rows.seek(0)
        row_bytes = self._channels * np.dtype(self.dtype).itemsize
        for start in range(0, self._steps, _CHUNK_ROWS):
            content = self._rows.read(_CHUNK_ROWS * row_bytes)
            yield start, np.frombuffer(content, np.dtype(self.dtype)).reshape(-1, self._channels)

    def discard(self) -> None:
        """Throws away what is not finished; may be called again."""
        with contextlib.suppress(OSError):  # a disk that was full when rows were written is so when they are let go
            self._rows.close()
        self._rows_path.unlink(missing_ok=True)
        self._block.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _as_stored(rows: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy in the type that is stored."""
    if not np.isfinite(rows).all():
        raise VideoError("non_finite", "the encoder gave nan or inf", "finite features", "nan or inf")
    with np.errstate(over="ignore"):
        stored = rows.astype(dtype)
    if not np.isfinite(stored).all():
        limit, largest = float(np.finfo(dtype).max), float(np.abs(rows).max())
        raise VideoError("out_of_range", f"a feature does not fit {dtype}", f"at most {limit:g}", f"{largest:g}")
    return stored


class PatientFile(io.FileIO):
    """A file whose failures HDF5 never learns: a disk that is full makes it kill the process (spec: reliability 4)."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:  # Any: what has a buffer
        """All of `data`, or nothing after the first failure."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.failure is None and written < len(view):
                written += super().write(view[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """The new size, also where it could not be given."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return self.tell() if size is None else size

    def tell_failure(self) -> None:
        """Raises the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure
