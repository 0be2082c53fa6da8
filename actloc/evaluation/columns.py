"""Ground truth and predictions of a whole subset as columns: one array per property, one row per segment."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Intervals:
    """Time intervals of videos, one per row; empty by default."""

    videos: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    starts_s: Floats = field(default_factory=lambda: np.zeros(0))
    ends_s: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class TruthColumns:
    """The annotated actions of a subset, one per row; `videos` are any integer ids, `labels` are class numbers."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers
    ambiguous: Intervals = field(default_factory=Intervals)
    """THUMOS14's Ambiguous intervals: it is unclear whether an action happens there."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Integers:
        """The class numbers that occur, sorted: the columns of every result."""
        return np.unique(self.labels)


@dataclass(frozen=True)
class PredictionColumns:
    """The scored segments of a subset, one per row; in a video without ground truth all of them are wrong."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)
