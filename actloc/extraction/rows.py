"""The last stage of extraction: rows of features out of what the network gives, and where they go."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.encoders.base import ClipEncoder
from actloc.extraction.batches import one_vector_each
from actloc.extraction.decoded import thinned
from actloc.settings.choices import Dtype
from actloc.store.info import FeatureInfo, Features
from actloc.video.windows import ClipLayout, Picking


class RowSink(Protocol):
    """Where the rows of one video go as they come."""

    dtype: Dtype
    """How they are stored."""

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C); raises VideoError where they cannot be kept."""

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Takes what is known once the last row has come; returns it with the number of rows and channels."""

    def discard(self) -> None:
        """Throws away what is not finished; may be called again."""


class RowsInMemory:
    """The rows of a video that are wanted at once."""

    dtype: Dtype = "float32"

    def __init__(self) -> None:
        self._rows: list[Features] = []
        self.features: Features = np.empty((0, 0), np.float32)
        """All rows (T, C), once they are finished."""

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C)."""
        self._rows.append(rows)

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Joins the rows."""
        self.features = np.concatenate(self._rows)
        return replace(info, steps=self.features.shape[0], channels=self.features.shape[1])

    def discard(self) -> None:
        """Lets go of the rows."""
        self._rows.clear()


class RowAssembly:
    """Rows of a video out of the vectors that the network makes of its items, given to a sink one by one."""

    def __init__(
        self,
        video_id: str,
        file: Path,
        encoder: ClipEncoder,
        layout: ClipLayout,
        sink: RowSink,
        picking: Callable[[], Picking | None],
    ) -> None:
        self._encoder = encoder
        self._term = encoder.video_term(video_id, file)
        self._interval = layout.frame_interval
        self._windower = layout.windower(picking)
        self._sink = sink
        self.num_rows = 0

    def take(self, vector: Features) -> None:
        """The next item's vector; raises what the sink raises."""
        if self._encoder.is_framewise:
            self._pool(self._windower.add(vector))
        else:
            self._append(vector[None])

    def end(self) -> None:
        """Makes what rows are left once every vector is taken; raises VideoError where there was none at all."""
        if self._encoder.is_framewise:
            self._pool(self._windower.end())

    def _pool(self, clips: Iterable[NDArray[Any]]) -> None:
        with torch.inference_mode():
            for clip in thinned(clips, self._interval):
                vectors = torch.from_numpy(clip[None])
                self._append(one_vector_each(self._encoder, self._encoder.pool_frames, vectors).numpy())

    def _append(self, rows: Features) -> None:
        self._sink.append(rows if self._term is None else rows + self._term)
        self.num_rows += len(rows)
