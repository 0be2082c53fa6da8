"""Which windows to annotate within a budget: those that a run doubts, unlike what is annotated and unlike each other.

Plain functions on arrays. Novelty is the greedy farthest-point rule of core-set selection (Sener and Savarese, 2018,
arXiv 1708.00489, algorithm 1); half of a window's value is novelty, the other half the doubts of the run.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_ROWS_AT_ONCE = 512
_SAME_S = 1e-6


@dataclass(frozen=True)
class Choice:
    """A window that is chosen, with what it was worth at that moment."""

    index: int
    """Its row in the arrays."""
    value: float
    """From 0 to 1: the mean of novelty and doubt."""
    doubt: float
    """From 0 to 1: the share of all windows whose ranks of uncertainty and disagreement have a lower sum."""
    novelty: float
    """From 0 to 1: a half at the usual distance between annotated windows, 0.75 at three times of it."""
    distance: float
    """To the nearest window that is annotated or already chosen, in usual distances; infinite if there is none."""
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
) -> list[Choice]:
    """The windows to annotate, the most valuable first, of `budget_s` seconds in all at most.

    `features` (N, C) and `annotated` (M, C) are means over windows of unlabelled and of annotated footage, `lengths_s`
    (N,) the seconds of the former; of `uncertainty` and `disagreement` (N,), from 0 to 1, only the order counts, and
    hundredths. A window that is longer than what is left of the budget is passed over. Equal values: the first row.

    Novelty is d / (d + usual): d is the distance of standardised features to the nearest window that is annotated or
    chosen before, and `usual` the median distance of an annotated window to the nearest other one.
    """
    own, known = standardised(features, annotated)
    ranks = np.stack([rank(uncertainty), rank(disagreement)])
    doubt = rank(ranks.sum(axis=0))
    usual = _usual(known if len(known) > 1 else own)
    nearest = _nearest(own, known)
    is_open, left_s, found = np.ones(len(own), dtype=bool), budget_s, list[Choice]()
    while True:
        fits = is_open & (np.asarray(lengths_s) <= left_s + _SAME_S)
        if not fits.any():
            return found
        novelty = _novelty(nearest, usual)
        value = (novelty + doubt) / 2.0
        best = int(np.where(fits, value, -1.0).argmax())
        distance = float(nearest[best] / usual) if usual else float(nearest[best])
        numbers = float(value[best]), float(doubt[best]), float(novelty[best]), distance
        found.append(Choice(best, *numbers, *ranks[:, best].tolist()))
        is_open[best] = False
        left_s -= float(lengths_s[best])
        nearest = np.minimum(nearest, _distances(own, own[best : best + 1])[:, 0])


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


def _novelty(nearest: Floats, usual: float) -> Floats:
    """d / (d + usual); 1 where nothing is known yet, 0 for an equal window."""
    share = np.divide(nearest, nearest + usual, out=np.ones_like(nearest), where=np.isfinite(nearest))
    return np.where(nearest > 0, share, 0.0)


def _usual(rows: Floats) -> float:
    """The median distance of a row to the nearest other; 0 for a single row."""
    if len(rows) < 2:
        return 0.0
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = _distances(rows[start : start + _ROWS_AT_ONCE], rows)
        block[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        found.append(block.min(axis=1))
    return float(np.median(np.concatenate(found)))


def _nearest(rows: Floats, others: Floats) -> Floats:
    """(N,): the distance of each row to the nearest of the others; infinite without any."""
    if not len(others):
        return np.full(len(rows), np.inf)
    blocks = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    return np.concatenate([_distances(block, others).min(axis=1) for block in blocks]) if blocks else np.zeros(0)


def _distances(rows: Floats, others: Floats) -> Floats:
    """(N, M): Euclidean distances; exactly 0 for equal rows would need differences, so tiny ones count as 0."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    found = squares - 2.0 * rows @ others.T
    distances: Floats = np.sqrt(np.where(found > 1e-12 * np.maximum(squares, 1e-300), found, 0.0))
    return distances
