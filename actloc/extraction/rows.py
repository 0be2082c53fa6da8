"""Last stage of extraction: makes feature rows from the network's vectors and passes them to a sink."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder
from actloc.extraction.batches import vectors_of
from actloc.extraction.decoded import thinned
from actloc.settings.choices import Dtype
from actloc.store.info import FeatureInfo, Features
from actloc.video.windows import ClipSpacing, Picking

_VALUE_BYTES = 4
_MOST_BYTES_IN_MEMORY = 16 << 20
"""Of rows before they go to a file: an hour of `color` at four rows a second is 2 MB, of 1280 channels 74 MB."""


class RowSink(Protocol):
    """Receives the rows of one video."""

    dtype: Dtype
    """How they are stored."""

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C); raises VideoError if they cannot be stored."""

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Takes the metadata after the last row; returns it with the number of rows and channels."""

    def discard(self) -> None:
        """Discards unfinished rows; may be called again."""


class RowsInMemory:
    """Keeps the rows of a video in memory, in one block: rows by themselves would be small objects between frames,
    whose memory then cannot be given back."""

    dtype: Dtype = "float32"

    def __init__(self) -> None:
        self._content = bytearray()
        self._channels = 0
        self.features: Features = np.empty((0, 0), np.float32)
        """All rows (T, C), after `finish`."""

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C)."""
        self._content += rows.astype(np.float32).tobytes()
        self._channels = rows.shape[1]

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Makes the array of all rows."""
        self.features = np.frombuffer(self._content, np.float32).reshape(-1, self._channels)
        return replace(info, steps=self.features.shape[0], channels=self.features.shape[1])

    def discard(self) -> None:
        """Discards the rows; those that are finished stay."""
        self._content = bytearray()


class RowsInFile:
    """Keeps the rows of a video in a temporary file without a name, and in memory while they are few.

    A context manager that deletes them.
    """

    dtype: Dtype = "float32"

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_MOST_BYTES_IN_MEMORY)  # noqa: SIM115 - closed when this is left
        self._is_finished = False
        self.num_rows = self.channels = 0

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C)."""
        self._file.write(rows.astype(np.float32).tobytes())
        self.num_rows += rows.shape[0]
        self.channels = rows.shape[1]

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """The metadata; from now on rows can be read."""
        self._is_finished = True
        return replace(info, steps=self.num_rows, channels=self.channels)

    def read(self, start: int, end: int) -> Tensor:
        """Rows (n, C) from `start` to `end`."""
        self._file.seek(start * self.channels * _VALUE_BYTES)
        content = bytearray(self._file.read((end - start) * self.channels * _VALUE_BYTES))
        return torch.frombuffer(content, dtype=torch.float32).view(-1, self.channels)

    def discard(self) -> None:
        """Deletes rows that are not finished."""
        if not self._is_finished:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class RowAssembly:
    """Makes a video's rows from the network's vectors of its items, and passes them to a sink one by one."""

    def __init__(
        self,
        video_id: str,
        file: Path,
        encoder: ClipEncoder,
        spacing: ClipSpacing,
        sink: RowSink,
        picking: Callable[[], Picking | None],
    ) -> None:
        self._encoder = encoder
        self._term = encoder.video_term(video_id, file)
        self._spacing = spacing
        self._windower = spacing.windower(picking)
        self._sink = sink
        self._last: Features | None = None
        """The rows of the latest clip, some of which may stand for frames beyond the end of the video."""
        self.num_rows = 0

    def take(self, vectors: Features) -> None:
        """Takes the next clip's vectors (v, C) or the next frame's (c,); raises what the sink raises."""
        if self._encoder.is_framewise:
            self._pool(self._windower.add(vectors))
        else:
            self._append(vectors)

    def end(self, num_frames: int) -> None:
        """Makes the remaining rows after the last vector; raises VideoError if the video has no rows at all."""
        if self._encoder.is_framewise:
            self._pool(self._windower.end())
        if self._last is not None:
            self._pass_on(self._spacing.num_rows(num_frames, len(self._last)) - self.num_rows)

    def _pool(self, clips: Iterable[NDArray[Any]]) -> None:
        with torch.inference_mode():
            for clip in thinned(clips, self._spacing.frame_interval):
                vectors = torch.from_numpy(clip[None])
                self._append(vectors_of(self._encoder, self._encoder.pool_frames, vectors)[0].numpy())

    def _append(self, rows: Features) -> None:
        if self._last is not None:
            self._pass_on(len(self._last))
        self._last = rows if self._term is None else rows + self._term

    def _pass_on(self, number: int) -> None:
        """Passes on the first rows of the latest clip."""
        assert self._last is not None
        self._sink.append(self._last[:number])
        self.num_rows += len(self._last[:number])
