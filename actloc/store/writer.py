"""Writes one video's features as their rows arrive, in memory that does not depend on the length of the video.

Rows go to a hidden file next to the final one. After the last row the sealed HDF5 file is built from it in one pass and
renamed into place, so that a killed process leaves no incomplete file. Its bytes do not depend on how the rows arrived.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from actloc import files
from actloc.errors import VideoError
from actloc.fault_injection import inject
from actloc.settings.choices import Dtype
from actloc.store.info import FeatureInfo, recorded
from actloc.store.sealed_file import BLOCK_BYTES, DATASET, HDF5_FORMAT, user_block

_CHUNK_ROWS = 256


class FeatureWriter:
    """Writes the features of one video to `path`; a context manager that discards them unless they are finished."""

    def __init__(self, path: Path, dtype: Dtype) -> None:
        self._path = path
        self.dtype: Dtype = dtype
        """How the rows are stored."""
        self._block: list[NDArray[Any]] = []
        """Rows that are not on disk yet, fewer than a chunk."""
        self._steps = self._channels = self._spilled = 0
        self._rows_path = files.temporary_path(path.with_name(f"{path.name}.rows"))
        files.make_folder(path.parent)
        inject("open")
        self._rows = self._rows_path.open("w+b")

    def append(self, rows: NDArray[np.float32]) -> None:
        """Adds the next rows (n, C); raises VideoError `non_finite` or `out_of_range` if numbers would be lost."""
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
        with files.naming(self._path):
            self._rows.write(content.data)
            self._rows.flush()

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Puts the file in place; returns `info` with steps and channels filled in."""
        assert self._steps, "the caller reports a video without rows"
        if self._block:
            self._spill()
        info = replace(info, steps=self._steps, channels=self._channels)
        temporary = files.temporary_path(self._path)
        try:
            inject("open")
            with files.naming(self._path), PatientFile(temporary, "w+") as file:
                inject("write")
                self._build(file, info)
                file.raise_failure()
            with files.naming(self._path), temporary.open("r+b") as stream:
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

    def _build(self, stream: "PatientFile", info: FeatureInfo) -> None:
        """Writes the rows as HDF5, one chunk at a time."""
        metadata = recorded(info)
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        chunks = (min(_CHUNK_ROWS, self._steps), self._channels)
        with h5py.File(stream, "w", libver=(HDF5_FORMAT, HDF5_FORMAT), userblock_size=BLOCK_BYTES) as file:
            dataset = file.create_dataset(
                DATASET, (self._steps, self._channels), np.dtype(self.dtype), chunks=chunks, fletcher32=True
            )
            for start, block in self._blocks():
                digest.update(block.data)
                dataset[start : start + len(block)] = block
                stream.raise_failure()
            del dataset  # closes it, so that its last chunk is written before the attributes, like the others
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
        """Deletes what is not finished; may be called again."""
        with contextlib.suppress(OSError):  # closing may fail again on a full disk
            self._rows.close()
        self._rows_path.unlink(missing_ok=True)
        self._block.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _as_stored(rows: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy of the rows, one after the other in memory, in the type that is stored."""
    if not np.isfinite(rows).all():
        raise VideoError("non_finite", "the encoder returned nan or inf", "finite features", "nan or inf")
    with np.errstate(over="ignore"):
        stored = rows.astype(dtype, order="C")  # files of features may have their columns one after the other
    if not np.isfinite(stored).all():
        limit, largest = float(np.finfo(dtype).max), float(np.abs(rows).max())
        raise VideoError("out_of_range", f"a feature does not fit {dtype}", f"at most {limit:g}", f"{largest:g}")
    return stored


class PatientFile(io.FileIO):
    """A file that hides write errors from HDF5, which would end the process, for example on a full disk."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:  # Any: what has a buffer
        """Writes all of `data`, or nothing after the first failure; reports success to HDF5."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.failure is None and written < len(view):
                written += super().write(view[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Returns the new size, even if setting it failed."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return self.tell() if size is None else size

    def raise_failure(self) -> None:
        """Raises the first failure, if there was one."""
        if self.failure is not None:
            raise self.failure
