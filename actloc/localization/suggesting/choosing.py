"""Which windows to annotate within a budget: those that much footage is like, of many videos, and that a run doubts.

Plain functions on arrays. Coverage is greedy facility location: a window is worth what its annotation takes off the
mean distance of all unlabelled footage to the nearest annotated window. A window that is like no other takes off its
own distance only, so outliers do not win, as they do by the farthest point (Sener and Savarese, 2018, arXiv 1708.00489,
algorithm 1). Doubt counts for more, the more of the footage is annotated: where little is, typical examples teach more
than doubtful ones (Hacohen et al., 2022, arXiv 2202.02794).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_ROWS_AT_ONCE = 512
_MOST_REFERENCES = 2000
"""Windows that are to be covered, evenly spaced among more than these: distances to all are never held at once."""
_MOST_DOUBT = 0.5
"""The weight of doubt where half of the footage is annotated, or more."""
_SAME_S = 1e-6


@dataclass(frozen=True)
class Choice:
    """A window that is chosen, with what it was worth at that moment."""

    index: int
    """Its row in the arrays."""
    value: float
    """From 0 to 1: the mean of coverage and doubt by their weights."""
    doubt: float
    """From 0 to 1: the share of all windows whose ranks of uncertainty and disagreement have a lower sum."""
    coverage: float
    """From 0 to 1, where 1 is the most of a window: what it takes off the distances of all footage, divided by the
    number of windows of its video that are chosen, it among them."""
    nearest_s: float
    """Seconds of unlabelled footage, its own among them, that are nearer to it than to what was annotated or chosen."""
    uncertainty_rank: float
    """The share of all windows that are less uncertain."""
    disagreement_rank: float
    """The share of all windows with less disagreement."""


def chosen(
    features: Floats,
    lengths_s: Floats,
    uncertainty: Floats,
    disagreement: Floats,
    annotated: Floats,
    budget_s: float,
    videos: Sequence[str],
) -> list[Choice]:
    """The windows to annotate, the most valuable first, of `budget_s` seconds in all at most.

    `features` (N, C) and `annotated` (M, C) are means over windows of unlabelled and of annotated footage, `lengths_s`
    (N,) the seconds of the former; of `uncertainty` and `disagreement` (N,), from 0 to 1, only the order counts, and
    hundredths. A window that is longer than what is left of the budget is passed over. Equal values: the first row.

    `videos` has the video of each window (N,). The windows of a video share people, place and camera, so coverage is
    divided by the number of those that are chosen, with the window itself. The weight of doubt is the share of windows
    that are annotated, M / (M + N), a half at most; that of coverage is the rest.
    """
    own, known = standardised(features, annotated)
    lengths_s = np.asarray(lengths_s, dtype=np.float64)
    ranks = np.stack([rank(uncertainty), rank(disagreement)])
    doubt = rank(ranks.sum(axis=0))
    weight = min(len(known) / max(len(known) + len(own), 1), _MOST_DOUBT)
    footage = _Footage(own, known, lengths_s)
    _, video_of = np.unique(np.asarray(videos, dtype=np.str_), return_inverse=True)
    times = np.ones(len(own))
    is_open, left_s, found = np.ones(len(own), dtype=bool), budget_s, list[Choice]()
    while True:
        fits = is_open & (lengths_s <= left_s + _SAME_S)
        if not fits.any():
            return found
        coverage = footage.gains / times
        most = coverage[fits].max()
        coverage = coverage / most if most > 0 else np.zeros(len(own))
        value = (1.0 - weight) * coverage + weight * doubt
        best = int(np.where(fits, value, -1.0).argmax())
        numbers = float(value[best]), float(doubt[best]), float(coverage[best]), footage.cover(best)
        found.append(Choice(best, *numbers, *ranks[:, best].tolist()))
        is_open[best] = False
        times[video_of == video_of[best]] += 1.0
        left_s -= float(lengths_s[best])


class _Footage:
    """How far the unlabelled footage is from what is annotated or chosen, and what each window would take off that."""

    def __init__(self, rows: Floats, annotated: Floats, lengths_s: Floats) -> None:
        self._rows = rows
        number = min(len(rows), _MOST_REFERENCES)
        self._references = np.linspace(0, max(len(rows) - 1, 0), number).round().astype(np.int64)
        seconds = lengths_s[self._references]
        self._seconds = seconds * (lengths_s.sum() / seconds.sum() if number else 1.0)
        self._nearest = _nearest(rows[self._references], annotated)
        if not len(annotated):  # any window is nearer than nothing: the first is in the middle of all
            self._nearest = _furthest(rows[self._references], rows)
        self.gains = self._gains(np.arange(number), self._nearest)
        """(N,): the seconds of all footage times the distance that the annotation of each window would take off."""

    def cover(self, index: int) -> float:
        """Counts a window as annotated; returns the seconds of footage that are nearer to it than to the others."""
        distances = _distances(self._rows[self._references], self._rows[index : index + 1])[:, 0]
        nearer = np.flatnonzero(distances < self._nearest)
        before, after = self._nearest[nearer], distances[nearer]
        # only these have changed, and they are few
        self.gains = np.maximum(self.gains - self._gains(nearer, before) + self._gains(nearer, after), 0.0)
        self._nearest[nearer] = after
        return float(self._seconds[nearer].sum())

    def _gains(self, which: NDArray[np.int64], nearest: Floats) -> Floats:
        """(N,): of some references, whose nearest is that far."""
        references, seconds = self._rows[self._references[which]], self._seconds[which]
        blocks = [
            np.maximum(nearest - _distances(self._rows[start : start + _ROWS_AT_ONCE], references), 0.0) @ seconds
            for start in range(0, len(self._rows), _ROWS_AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0)


def rank(values: Floats) -> Floats:
    """(N,): the share of the values that are lower than each by a hundredth or so, from 0 to below 1."""
    values = np.round(np.asarray(values, dtype=np.float64), 2)
    lower: Floats = np.searchsorted(np.sort(values), values, side="left") / max(len(values), 1)
    return lower


def standardised(features: Floats, annotated: Floats) -> tuple[Floats, Floats]:
    """Both with mean 0 and standard deviation 1 in each channel over all rows, divided by the root of the channels.

    A channel that is the same everywhere becomes 0. Distances then do not grow with the number of channels.
    """
    own, known = np.asarray(features, dtype=np.float64), np.asarray(annotated, dtype=np.float64)
    known = known.reshape(-1, own.shape[1])
    both = np.concatenate([own, known])
    spread = both.std(axis=0)
    # rounding leaves a spread where all rows are equal
    spread = np.where(spread <= 1e-9 * np.abs(both).max(axis=0, initial=0.0), np.inf, spread) * own.shape[1] ** 0.5
    middle = both.mean(axis=0)
    return (own - middle) / spread, (known - middle) / spread


def _nearest(rows: Floats, others: Floats) -> Floats:
    """(N,): the distance of each row to the nearest of the others; infinite without any."""
    if not len(others):
        return np.full(len(rows), np.inf)
    blocks = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return np.concatenate([_distances(block, others).min(axis=1) for block in blocks]) if blocks else np.zeros(0)


def _furthest(rows: Floats, others: Floats) -> Floats:
    """(N,): the distance of each row to the furthest of the others."""
    blocks = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return np.concatenate([_distances(block, others).max(axis=1) for block in blocks]) if blocks else np.zeros(0)


def _distances(rows: Floats, others: Floats) -> Floats:
    """(N, M): Euclidean distances; exactly 0 for equal rows would need differences, so tiny ones count as 0."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    found = squares - 2.0 * rows @ others.T
    distances: Floats = np.sqrt(np.where(found > 1e-12 * np.maximum(squares, 1e-300), found, 0.0))
    return distances
