"""Extraction into an array, which tests compare."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from actloc.encoders.base_network import ClipEncoder
from actloc.extraction.local import encode_into
from actloc.settings.choices import Dtype
from actloc.settings.sections import MachineSettings
from actloc.store.info import FeatureInfo, Features
from actloc.video.windows import ClipSpacing


class RowsInMemory:
    """Keeps the rows of a video in one array."""

    dtype: Dtype = "float32"

    def __init__(self) -> None:
        self._rows: list[Features] = []
        self.features: Features = np.empty((0, 0), np.float32)
        """All rows (T, C), after `finish`."""

    def append(self, rows: Features) -> None:
        """Takes the next rows (n, C)."""
        self._rows.append(rows.astype(np.float32))

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Makes the array of all rows."""
        self.features = np.concatenate(self._rows)
        return replace(info, steps=self.features.shape[0], channels=self.features.shape[1])

    def discard(self) -> None:
        """Discards the rows; those that are finished stay."""
        self._rows = []


def encode_video(
    path: Path,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Features, FeatureInfo]:
    """The features (T, C) float32 of one video and their metadata; raises VideoError."""
    rows = RowsInMemory()
    info = encode_into(rows, path, encoder, spacing, machine, check_stop)
    return rows.features, info
