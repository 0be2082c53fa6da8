"""Compares the features of two stores: per dimension, and shifted in time.

Features of one video made in two ways are on two time grids. Those of the second store are interpolated linearly at the
times of the first one's rows plus a shift; the shift with the highest correlation shows whether one grid is off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.store.info import FeatureInfo, Features, grid
from actloc.store.store import FeatureStore

Floats = NDArray[Any]  # float64
_DIMENSIONS_FOR_SHIFT = 64


@dataclass(frozen=True)
class VideoComparison:
    """The comparison of one video."""

    video_id: str
    rows: tuple[int, int]
    correlation: float | None
    """Mean over the dimensions, without a shift; None if no dimension varies or few rows share a time."""
    best_shift_s: float
    """By how much the second store is later than the first."""
    best_correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """The comparison of two stores over the videos that both have."""

    videos: list[VideoComparison]
    dimensions: Floats
    """Pearson's correlation (C,) of each dimension over all shared rows, without a shift; nan if it is constant."""
    cosine: float | None
    """Mean cosine similarity of rows at the same time; None if there are none."""
    largest_difference: float
    """The largest absolute difference of two values at the same time."""


def compare(
    first: FeatureStore,
    second: FeatureStore,
    video_ids: list[str],
    most_shift_s: float,
    done: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compares `video_ids`, at least one; calls `done` after each. Raises UserError if a video's channels differ."""
    videos: list[VideoComparison] = []
    total = _Agreement(first.info(video_ids[0]).channels)
    for video_id in video_ids:
        a, b = first.read(video_id), second.read(video_id)
        infos = first.info(video_id), second.info(video_id)
        if a.shape[1] != b.shape[1]:
            raise UserError(
                f"{video_id} has {a.shape[1]} channels in {first.folder} and {b.shape[1]} in {second.folder}.",
                "Expected the same number of channels in both stores.",
                "Compare features that were made with the same encoder and stream.",
            )
        total.add(*_at_same_times(a, b, *infos, 0.0))
        videos.append(_of_video(video_id, a, b, infos, most_shift_s))
        done(video_id)
    cosine = total.cosines / total.num_cosines if total.num_cosines else None
    return Comparison(videos, total.correlations(), cosine, total.largest_difference)


class _Agreement:
    """Sums over pairs of rows. The rows are not kept: those of a whole dataset do not fit into memory."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._first = np.zeros((2, channels))
        self._sums = np.zeros((5, channels))
        """Of a, b, a * a, b * b and a * b, with the first row subtracted from a and b: large means cost precision."""
        self.cosines, self.num_cosines = 0.0, 0
        self.largest_difference = 0.0

    def add(self, a: Floats, b: Floats) -> None:
        """Adds rows (N, C) of both stores at the same times."""
        if not self._count and len(a):
            self._first = np.stack([a[0], b[0]])
        self._count += len(a)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        self.cosines += float(((a * b).sum(1)[norms > 0] / norms[norms > 0]).sum())
        self.num_cosines += int((norms > 0).sum())
        self.largest_difference = max(self.largest_difference, float(np.abs(a - b).max(initial=0)))
        self._sums += _sums(a - self._first[0], b - self._first[1])

    def correlations(self) -> Floats:
        """Pearson's correlation (C,) of each dimension; nan if it is constant."""
        return _correlations(self._sums, self._count)


def correlations(a: Floats, b: Floats) -> Floats:
    """Pearson's correlation (C,) of the columns of a and b (N, C); nan if a column is constant."""
    return _correlations(_sums(a - a[:1], b - b[:1]), len(a))


def _sums(a: Floats, b: Floats) -> Floats:
    return np.stack([a.sum(0), b.sum(0), (a * a).sum(0), (b * b).sum(0), (a * b).sum(0)])


def _correlations(sums: Floats, count: int) -> Floats:
    a, b, aa, bb, ab = sums
    count = max(count, 1)
    spread = np.sqrt(np.maximum(aa - a * a / count, 0) * np.maximum(bb - b * b / count, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (ab - a * b / count) / spread, np.nan)


def _of_video(
    video_id: str, a: Features, b: Features, infos: tuple[FeatureInfo, FeatureInfo], most_shift_s: float
) -> VideoComparison:
    step_s = min(info.stride_frames / info.fps for info in infos) / 2
    count = int(most_shift_s / step_s)
    # the smallest shift first: of equal correlations argmax takes the first
    shifts = sorted((number * step_s for number in range(-count, count + 1)), key=abs)
    some = slice(None, None, -(-a.shape[1] // _DIMENSIONS_FOR_SHIFT))  # enough to find the shift, and much faster
    means = [_mean_correlation(a[:, some], b[:, some], infos, shift) for shift in shifts]
    best = shifts[int(np.argmax([-np.inf if mean is None else mean for mean in means]))]
    unshifted, shifted = (_mean_correlation(a, b, infos, shift) for shift in (0.0, best))
    return VideoComparison(video_id, (len(a), len(b)), unshifted, best, shifted)


def _mean_correlation(a: Features, b: Features, infos: tuple[FeatureInfo, FeatureInfo], shift_s: float) -> float | None:
    """The mean over the dimensions that vary; None if less than half of the rows have a counterpart.

    A few rows may correlate by chance.
    """
    ours, theirs = _at_same_times(a, b, *infos, shift_s)
    if 2 * len(ours) < len(a):
        return None
    values = correlations(ours, theirs)
    varying = values[np.isfinite(values)]
    return float(varying.mean()) if len(varying) else None


def _at_same_times(
    a: Features, b: Features, info_a: FeatureInfo, info_b: FeatureInfo, shift_s: float
) -> tuple[Floats, Floats]:
    """The rows (N, C) of `a` whose time plus the shift is within `b`, and `b` interpolated there."""
    import torch

    steps = [torch.arange(info.steps, dtype=torch.float64) for info in (info_a, info_b)]
    times = grid(info_a).seconds(steps[0]).numpy() + shift_s
    others = grid(info_b).seconds(steps[1]).numpy()
    slack_s = 1e-6  # frame rates may differ in their last bit
    inside = (times >= others[0] - slack_s) & (times <= others[-1] + slack_s)
    places = np.interp(times[inside], others, np.arange(len(others)))
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(others) - 1)
    share = (places - below)[:, None]
    return a[inside].astype(np.float64), b[below] * (1 - share) + b[above] * share
