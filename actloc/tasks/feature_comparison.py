"""Whether two stores hold the same features: per dimension, and shifted in time (spec: features 2.12).

Features of one video made in two ways lie on two grids. Those of the second store are read at the times of the first
one's rows, linearly between its own, and moved by a shift of time; the shift at which dimensions correlate best tells
whether one grid is off.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.store import FeatureInfo, Features, FeatureStore

Numbers = NDArray[Any]  # float64


@dataclass(frozen=True)
class VideoComparison:
    """One video in both stores."""

    video_id: str
    rows: tuple[int, int]
    correlation: float | None
    """Mean over the dimensions without a shift; None where nothing varies or no times are shared."""
    best_shift_s: float
    """How much later the second store shows the same."""
    best_correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """Two stores over all the videos that both have."""

    videos: list[VideoComparison]
    dimensions: Numbers
    """Pearson's correlation (C,) of each dimension over all shared rows, without a shift; nan where it is constant."""
    cosine: float | None
    """Mean cosine of rows at the same time; None where there are none."""
    largest_difference: float
    """The largest difference of two values at the same time."""


def compare(first: FeatureStore, second: FeatureStore, video_ids: list[str], most_shift_s: float) -> Comparison:
    """Compares the videos named; raises UserError where the stores' channels differ."""
    videos, pairs = [], []
    for video_id in video_ids:
        a, b = first.read(video_id), second.read(video_id)
        infos = first.info(video_id), second.info(video_id)
        if a.shape[1] != b.shape[1]:
            raise UserError(
                f"{video_id} has {a.shape[1]} channels in {first.folder} and {b.shape[1]} in {second.folder}.",
                "Expected as many in both.",
                "Compare features of one kind: make both with the same encoder and stream.",
            )
        pairs.append(_at_same_times(a, b, *infos, 0.0))
        videos.append(_of_video(video_id, a, b, infos, most_shift_s))
    ours, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(1)[norms > 0] / norms[norms > 0]
    return Comparison(
        videos,
        correlations(ours, theirs),
        float(cosines.mean()) if len(cosines) else None,
        float(np.abs(ours - theirs).max(initial=0)),
    )


def correlations(a: Numbers, b: Numbers) -> Numbers:
    """Pearson's correlation (C,) of the columns of a and b (N, C); nan where a column is constant."""
    if len(a) < 2:
        return np.full(a.shape[1], np.nan)
    a, b = a - a.mean(0), b - b.mean(0)
    spread = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (a * b).sum(0) / spread, np.nan)


def _of_video(
    video_id: str, a: Features, b: Features, infos: tuple[FeatureInfo, FeatureInfo], most_shift_s: float
) -> VideoComparison:
    step_s = min(info.stride_frames / info.fps for info in infos) / 2
    count = int(most_shift_s / step_s)
    # a zero shift first: of equal ones the first counts
    shifts = sorted((number * step_s for number in range(-count, count + 1)), key=abs)
    means = [_mean(correlations(*_at_same_times(a, b, *infos, shift))) for shift in shifts]
    ranked = [-np.inf if mean is None else mean for mean in means]
    best = int(np.argmax(ranked))
    return VideoComparison(video_id, (len(a), len(b)), means[0], shifts[best], means[best])


def _mean(values: Numbers) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _at_same_times(
    a: Features, b: Features, info_a: FeatureInfo, info_b: FeatureInfo, shift_s: float
) -> tuple[Numbers, Numbers]:
    """The rows (N, C) of `a` within the span of `b`, and `b` at their times plus the shift."""
    times, others = _times(info_a) + shift_s, _times(info_b)
    slack_s = 1e-6  # rates that differ in their last bit
    inside = (times >= others[0] - slack_s) & (times <= others[-1] + slack_s)
    places = np.interp(times[inside], others, np.arange(len(others)))
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(others) - 1)
    share = (places - below)[:, None]
    return a[inside].astype(np.float64), b[below] * (1 - share) + b[above] * share


def _times(info: FeatureInfo) -> Numbers:
    """Seconds of the rows' centres."""
    times: Numbers = (np.arange(info.steps, dtype=np.float64) * info.stride_frames + info.offset_frames) / info.fps
    return times
