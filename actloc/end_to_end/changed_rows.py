"""Rows of videos that change between two checkpoints: in memory, and beyond a limit in a file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]  # (T, C) float32 or float16


class ChangedRows:
    """All rows of each video that changed, in the type in which they are stored.

    The file has no name, so that it vanishes with the process. It is one for all videos: there may be more of them than
    files that a process may open.
    """

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        """Up to `memory_bytes` are in memory; the file is in `folder`."""
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._file: IO[bytes] | None = None
        self.clear()

    def clear(self) -> None:
        """Forgets all rows."""
        self._held: dict[str, Rows] = {}
        self._held_bytes = 0
        self._places: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        if self._file is not None:
            self._file.close()
        self._file = None

    def __iter__(self) -> Iterator[str]:
        yield from self._held
        yield from self._places

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._held or video_id in self._places

    @property
    def num_in_file(self) -> int:
        """Number of videos whose rows are in the file."""
        return len(self._places)

    def add(self, video_id: str, rows: Rows) -> None:
        """Takes the rows of a video that has not changed before; they are the caller's no more."""
        if self._held_bytes + rows.nbytes <= self._memory_bytes:
            self._held[video_id] = rows
            self._held_bytes += rows.nbytes
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by `clear`
        place = self._file.seek(0, 2)
        self._file.write(rows.tobytes())
        self._file.flush()  # a full disk is an error here, not later
        self._places[video_id] = place, rows.dtype, rows.shape

    def read(self, video_id: str) -> Rows:
        """All rows of a video, to read only."""
        if video_id in self._held:
            return self._held[video_id]
        place, dtype, shape = self._places[video_id]
        assert self._file is not None
        self._file.seek(place)
        return np.frombuffer(self._file.read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)

    def write(self, video_id: str, first: int, rows: Rows) -> None:
        """Replaces rows from row `first` on."""
        if video_id in self._held:
            self._held[video_id][first : first + len(rows)] = rows
            return
        place, dtype, shape = self._places[video_id]
        assert self._file is not None
        self._file.seek(place + first * shape[1] * dtype.itemsize)
        self._file.write(np.ascontiguousarray(rows, dtype).tobytes())
        self._file.flush()
