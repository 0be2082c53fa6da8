"""The truth and the predictions of a whole subset as columns of numbers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Intervals:
    """Stretches of videos, one row each; none of them by default."""

    videos: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    starts_s: Floats = field(default_factory=lambda: np.zeros(0))
    ends_s: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class GroundTruth:
    """The true actions of a subset, one row each; `videos` are indices of any kind, `labels` class numbers."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers
    ambiguous: Intervals = field(default_factory=Intervals)
    """Where nobody could tell what happens (THUMOS14)."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> Integers:
        """The labels that occur, sorted: the columns of every result."""
        return np.unique(self.labels)


@dataclass(frozen=True)
class Predictions:
    """Scored segments of a subset, one row each; a video that is not in the truth has only false ones."""

    videos: Integers
    starts_s: Floats
    ends_s: Floats
    labels: Integers
    scores: Floats

    def __len__(self) -> int:
        return len(self.labels)
