"""Which windows to annotate within a budget: like much footage, of many videos, with actions of which few are labelled.

Plain functions on arrays. Coverage is greedy facility location: a window is worth what its annotation takes off the
mean distance of all unlabelled footage to the nearest annotated window. A window that is like no other takes off its
own distance only, so outliers do not win, as they do by the farthest point (Sener and Savarese, 2018, arXiv 1708.00489,
algorithm 1). Distances are largest between windows of energetic movement, so coverage alone starves short actions.
Balance is for these: the sum over the classes of the logarithm of how many actions are labelled, which one more action
raises the more, the fewer there are. What a run expects is worth little if it learned from few labels, and coverage
does not need it: balance counts for more, the more labels there are. Doubt counts for more, the more of the footage is
annotated: where little is, typical examples teach more than doubtful ones (Hacohen et al., 2022, arXiv 2202.02794).
"""

from collections import Counter
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
_EVEN_LABELS = 4.0
"""Labels of a class, in the mean, with which coverage and balance have the same weight."""
_SAME_S = 1e-6


@dataclass(frozen=True)
class Unlabelled:
    """Windows to choose from, N of them."""

    features: Floats
    """(N, C): the means over each window."""
    lengths_s: Floats
    """(N,): in seconds."""
    videos: Sequence[str]
    """(N,): the video of each. Its windows share people, place and camera."""
    expected: Floats
    """(N, K): how many actions of each class the run expects in each window."""
    uncertainty: Floats
    """(N,), from 0 to 1: only the order counts, and hundredths."""
    disagreement: Floats
    """(N,): the same."""


@dataclass(frozen=True)
class Annotated:
    """What the run learned from: M windows and their labels."""

    features: Floats
    """(M, C): the means over each window."""
    videos: Sequence[str]
    """(M,): the video of each."""
    actions: Floats
    """(K,): how many actions of each class are labelled."""


@dataclass(frozen=True)
class Choice:
    """A window that is chosen, with what it was worth at that moment."""

    index: int
    """Its row in the arrays."""
    value: float
    """From 0 to 1: the mean of coverage, balance and doubt by their weights."""
    doubt: float
    """From 0 to 1: the share of all windows whose ranks of uncertainty and disagreement have a lower sum."""
    coverage: float
    """From 0 to 1, where 1 is the most of a window: what it takes off the distances of all footage, divided by the
    number of windows of its video that are annotated or chosen, it among them."""
    balance: float
    """From 0 to 1, where 1 is the most of a window: what the actions that are expected in it add to the sum of the
    logarithms of the labels of each class, divided by the same number."""
    nearest_s: float
    """Seconds of unlabelled footage, its own among them, that are nearer to it than to what was annotated or chosen."""
    uncertainty_rank: float
    """The share of all windows that are less uncertain."""
    disagreement_rank: float
    """The share of all windows with less disagreement."""
    scarcest: int | None
    """The class that adds most to its balance; None where no action is expected."""
    expected_before: float
    """How many actions of that class are expected in the windows that were chosen before it."""


def chosen(own: Unlabelled, known: Annotated, budget_s: float) -> list[Choice]:
    """The windows to annotate, the most valuable first, of `budget_s` seconds in all at most.

    A window that is longer than what is left of the budget is passed over. Equal values: the first row. The weight of
    doubt is the share of windows that are annotated, M / (M + N), a half at most. Where classes have n labels in the
    mean, coverage has 4 / (4 + n) of the rest, and balance n / (4 + n). Actions that are expected in a chosen window
    count as labels of their classes for the next ones, but not for these weights.
    """
    rows, annotated = standardised(own.features, known.features)
    lengths_s = np.asarray(own.lengths_s, dtype=np.float64)
    ranks = np.stack([rank(own.uncertainty), rank(own.disagreement)])
    doubt = rank(ranks.sum(axis=0))
    weight = min(len(annotated) / max(len(annotated) + len(rows), 1), _MOST_DOUBT)
    share = _EVEN_LABELS / (_EVEN_LABELS + float(np.mean(known.actions)))
    footage, labels = _Footage(rows, annotated, lengths_s), _Labels(own.expected, known.actions)
    times = _times(own.videos, known.videos)
    video_of = np.asarray(own.videos, dtype=np.str_)
    is_open, left_s, found = np.ones(len(rows), dtype=bool), budget_s, list[Choice]()
    while True:
        fits = is_open & (lengths_s <= left_s + _SAME_S)
        if not fits.any():
            return found
        coverage, balance = _of_most(footage.gains / times, fits), _of_most(labels.gains() / times, fits)
        value = (1.0 - weight) * (share * coverage + (1.0 - share) * balance) + weight * doubt
        best = int(np.where(fits, value, -1.0).argmax())
        scarcest, before = labels.add(best)
        found.append(
            Choice(
                best,
                value=float(value[best]),
                doubt=float(doubt[best]),
                coverage=float(coverage[best]),
                balance=float(balance[best]),
                nearest_s=footage.cover(best),
                uncertainty_rank=float(ranks[0, best]),
                disagreement_rank=float(ranks[1, best]),
                scarcest=scarcest,
                expected_before=before,
            )
        )
        is_open[best] = False
        times[video_of == video_of[best]] += 1.0
        left_s -= float(lengths_s[best])


def _times(videos: Sequence[str], annotated: Sequence[str]) -> Floats:
    """(N,): of each window, how many of its video are annotated, and itself."""
    number = Counter(annotated)
    return np.array([1.0 + number[video] for video in videos])


def _of_most(values: Floats, fits: NDArray[np.bool_]) -> Floats:
    """(N,): as shares of the largest value of the windows that fit; zeros where that is 0."""
    most = values[fits].max()
    return values / most if most > 0 else np.zeros(len(values))


class _Labels:
    """How many actions of each class are labelled or expected in chosen windows, and what each window would add."""

    def __init__(self, expected: Floats, actions: Floats) -> None:
        self._expected = np.asarray(expected, dtype=np.float64)
        self._actions = np.asarray(actions, dtype=np.float64)
        self._before = np.zeros(len(self._actions))

    def gains(self) -> Floats:
        """(N,): what each window adds to the sum over classes of log(1 + labels)."""
        gains: Floats = self._gains(self._expected).sum(axis=1)
        return gains

    def add(self, index: int) -> tuple[int | None, float]:
        """Counts a window as labelled; returns its class of the largest gain, and what was expected of it before."""
        own = self._expected[index]
        if not own.any():
            return None, 0.0
        scarcest = int(self._gains(own).argmax())
        before = float(self._before[scarcest])
        self._before += own
        return scarcest, before

    def _gains(self, expected: Floats) -> Floats:
        """(..., K): log(1 + n + expected) - log(1 + n), where n are the labels of a class."""
        return np.log1p(expected / (1.0 + self._actions + self._before))


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
