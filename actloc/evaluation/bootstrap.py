"""Bootstrap over videos: the mAP of test sets made by drawing as many videos as there are, with replacement.

A video that is drawn twice is two videos: its true actions and its predictions count twice, in copies that do not match
each other. A class without a true action in a draw is left out of the mean of that draw.

Nothing is copied: matches never cross videos, so a draw changes only how often each prediction counts (B. Efron,
"Bootstrap Methods: Another Look at the Jackknife", 1979; the unit is the video, since actions of one video are not
independent).
"""

from collections.abc import Container, Sequence
from contextlib import nullcontext
from itertools import pairwise

import numpy as np

from actloc import console
from actloc.evaluation.columns import Booleans, Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.protocols import ACTIONFORMER, Protocol
from actloc.evaluation.repeated_precision import Times, precision_sums
from actloc.evaluation.uncertainty import Interval, Uncertainty

NUM_DRAWS, SEED, LEVEL = 1000, 0, 0.95
_AT_ONCE = 4_000_000
"""Predictions times draws that are counted together: bounds memory, does not change results."""
_LONG = 1_000_000_000
"""Predictions times draws, from which on it takes some seconds and progress is shown."""


def draws(num_videos: int, num_draws: int = NUM_DRAWS, seed: int = SEED) -> Times:
    """How often each video is drawn (videos, draws)."""
    generator = np.random.default_rng(seed)
    times = np.empty((num_videos, num_draws), dtype=np.int32)
    for number in range(num_draws):
        drawn = generator.integers(num_videos, size=num_videos)
        times[:, number] = np.bincount(drawn, minlength=num_videos)
    return times


def times_of(videos: Sequence[str], subset: Container[str], num_draws: int = NUM_DRAWS, seed: int = SEED) -> Times:
    """How often each video counts (videos, draws); those outside the subset are not drawn, and count once.

    Results on the same subset get the same draws.
    """
    is_drawn = np.array([video in subset for video in videos], dtype=np.bool_)
    times = np.ones((len(videos), num_draws), dtype=np.int32)
    times[is_drawn] = draws(int(is_drawn.sum()), num_draws, seed)
    return times


def mean_aps(
    truth: TruthColumns,
    predictions: PredictionColumns,
    tious: Sequence[float],
    times: Times,
    protocol: Protocol = ACTIONFORMER,
) -> Floats:
    """mAP (tIoUs, draws) where video v counts `times[v]` times; nan in a draw without true actions.

    It equals the mAP of columns in which each video is repeated, its copies next to each other in number and order.
    """
    counts = np.stack([times[truth.videos[truth.labels == label]].sum(axis=0) for label in truth.classes])
    if not protocol.unknown_labels_collide:
        return _mean_aps(Pairing(truth, predictions, min(tious), protocol), predictions, tious, times, counts)
    # which labels collide depends on the classes that were drawn
    means = np.full((len(tious), times.shape[1]), np.nan)
    present, draw_of = np.unique(counts > 0, axis=1, return_inverse=True)
    for number, is_present in enumerate(present.T):
        if is_present.any():
            chosen = np.flatnonzero(draw_of == number)
            kept = _of_classes(truth, truth.classes[is_present])
            pairing = Pairing(kept, predictions, min(tious), protocol)
            of_kept = counts[np.ix_(is_present, chosen)]
            means[:, chosen] = _mean_aps(pairing, predictions, tious, times[:, chosen], of_kept)
    return means


def uncertainty(
    truth: TruthColumns,
    predictions: PredictionColumns,
    tious: Sequence[float],
    times: Times,
    protocol: Protocol,
) -> Uncertainty:
    """The intervals of mAP at each tIoU and of their average; without any if fewer than two videos are drawn."""
    if (times == times[:, :1]).all():
        return no_uncertainty(len(tious), "the subset has one video, and no other can be drawn")
    means = mean_aps(truth, predictions, tious, times, protocol)
    *found, average = [_interval(one) for one in intervals(np.vstack([means, means.mean(axis=0)]))]
    return Uncertainty(level=LEVEL, draws=times.shape[1], seed=SEED, mean_ap=found, average_map=average)


def no_uncertainty(num_tious: int, reason: str) -> Uncertainty:
    """Without intervals, and why."""
    none = [None] * num_tious
    return Uncertainty(level=LEVEL, draws=0, seed=SEED, mean_ap=none, average_map=None, reason=reason)


def _interval(found: tuple[float, float] | None) -> Interval | None:
    return None if found is None else Interval(low=found[0], high=found[1])


def intervals(values: Floats, level: float = LEVEL) -> list[tuple[float, float] | None]:
    """The percentile interval of each row (rows, draws); nan is left out, and None is for a row of nan only."""
    found: list[tuple[float, float] | None] = []
    for row in values:
        measured = row[~np.isnan(row)]
        low, high = np.quantile(measured, [(1 - level) / 2, (1 + level) / 2]) if len(measured) else (np.nan, np.nan)
        found.append((float(low), float(high)) if len(measured) else None)
    return found


def _of_classes(truth: TruthColumns, classes: Integers) -> TruthColumns:
    kept = np.isin(truth.labels, classes)
    return TruthColumns(
        truth.videos[kept], truth.starts_s[kept], truth.ends_s[kept], truth.labels[kept], truth.ambiguous
    )


def _mean_aps(
    pairing: Pairing, predictions: PredictionColumns, tious: Sequence[float], times: Times, counts: Integers
) -> Floats:
    """The mean over the classes that occur in each draw; `counts` (classes, draws) are their true actions."""
    hits = np.stack([pairing.hits(tiou) for tiou in tious])
    videos = predictions.videos[pairing.rows]
    edges = np.searchsorted(pairing.classes, np.arange(pairing.num_classes + 1))
    sums = np.zeros((len(tious), times.shape[1]))
    is_long = len(videos) * times.shape[1] > _LONG
    progress = console.progress("drawing videos", pairing.num_classes) if is_long else nullcontext(None)
    with progress as moved:
        for place, (first, end) in enumerate(pairwise(edges)):
            step = max(1, _AT_ONCE // max(1, int(end - first)))
            for start in range(0, times.shape[1], step):
                some = slice(start, start + step)
                found = _areas(pairing, hits, videos, slice(first, end), times[:, some])
                sums[:, some] += found / np.maximum(counts[place, some], 1)
            if moved:
                moved(1)
    present = (counts > 0).sum(axis=0)
    return np.where(present > 0, sums / np.maximum(present, 1), np.nan)


def _areas(pairing: Pairing, hits: Booleans, videos: Integers, of_class: slice, times: Times) -> Floats:
    """The sums of the precisions at the hits of one class (tIoUs, draws)."""
    is_hit, is_ambiguous = hits[:, of_class], pairing.is_ambiguous[of_class]
    scores, own_videos, is_interpolated = pairing.scores[of_class], videos[of_class], pairing.protocol.is_interpolated
    if not is_ambiguous.any():
        return precision_sums(is_hit, scores, own_videos, times, is_interpolated=is_interpolated)
    # an ambiguous prediction counts at the tIoUs at which it is a hit
    rows = []
    for row in is_hit:
        kept = row | ~is_ambiguous
        rows.append(
            precision_sums(row[None, kept], scores[kept], own_videos[kept], times, is_interpolated=is_interpolated)
        )
    return np.concatenate(rows)
