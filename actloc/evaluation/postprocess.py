"""Turns a detector's scored segments, in feature steps, into a video's detections in seconds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.ops.suppression import (
    Floats,
    Indices,
    hard_suppression,
    hard_suppression_per_class,
    soft_suppression,
    soft_suppression_per_class,
    suppression_between_windows,
    vote,
    weighted_suppression,
    weighted_suppression_per_class,
)
from actloc.settings.detections import SuppressionSettings
from actloc.structures import Detections, Grid

MAX_KEPT = "suppression.max_kept"
_KEPT_PER_WINDOW = 200


def postprocess(
    detections: Detections,
    grid: Grid,
    duration_s: float,
    settings: SuppressionSettings,
    num_windows: int = 1,
    windows: Sequence[tuple[float, float]] = (),
) -> Detections:
    """Detections in seconds within [0, `duration_s`], best first, with overlapping ones suppressed as `settings` ask.

    Method `none` keeps all of them. `num_windows` says how often the video takes up the `features.max_steps` steps that
    `suppression.max_kept` counts by where it is null. `windows` are where in feature steps those begin and end that the
    detections come from.
    """
    if settings.method == "none":
        order = detections.scores.argsort(descending=True, stable=True)
        segments, scores, labels = (one[order] for one in (detections.segments, detections.scores, detections.labels))
        kept = Detections(segments, scores, labels, detections.class_scores_of(order), detections.cut_by)
    else:
        kept = _suppressed(detections, settings, settings.max_kept or _KEPT_PER_WINDOW * num_windows, windows)
    return replace(kept, segments=grid.seconds(kept.segments).clamp(0, duration_s))


def _suppressed(
    detections: Detections, settings: SuppressionSettings, max_kept: int, windows: Sequence[tuple[float, float]]
) -> Detections:
    # as officially, but where hours of steps need more digits than float32 has
    dtype = torch.float64 if detections.segments.dtype == torch.float64 else torch.float32
    segments, scores = (one.to(dtype).cpu().numpy() for one in (detections.segments, detections.scores))
    labels = detections.labels.cpu().numpy()
    # one more than asked shows whether the limit leaves anything out
    indices, kept, final_scores = _remaining(segments, scores, labels, settings, max_kept + 1, windows)
    cut_by = detections.cut_by | ({MAX_KEPT} if len(indices) > max_kept else set())
    indices, kept, final_scores = indices[:max_kept], kept[:max_kept], final_scores[:max_kept]
    if settings.method != "weighted" and not settings.multiclass and settings.voting_threshold > 0:
        by_overlap = settings.voting_weights == "score_and_overlap"
        kept = vote(kept, segments, scores, settings.voting_threshold, by_overlap=by_overlap)
    class_scores = detections.class_scores_of(torch.from_numpy(indices))
    kept_segments, kept_scores, kept_labels = map(torch.from_numpy, (kept, final_scores, labels[indices]))
    return Detections(kept_segments, kept_scores, kept_labels, class_scores, cut_by)


def _remaining(
    segments: Floats,
    scores: Floats,
    labels: NDArray[np.integer],
    settings: SuppressionSettings,
    max_kept: int,
    windows: Sequence[tuple[float, float]],
) -> tuple[Indices, Floats, Floats]:
    """Indices (M,), segments (M, 2) and scores (M,) of what suppression keeps, best first."""
    by_class, min_score = settings.multiclass, settings.min_score
    if settings.method == "weighted":
        weighted = partial(weighted_suppression_per_class, labels=labels) if by_class else weighted_suppression
        return weighted(segments, scores, tiou=settings.tiou, min_score=min_score, max_kept=max_kept)
    if settings.method == "between_windows":
        of_class, tiou = labels if by_class else None, settings.tiou
        indices, kept = suppression_between_windows(
            segments, scores, of_class, windows, tiou=tiou, min_score=min_score, max_kept=max_kept
        )
    elif settings.method == "hard":
        hard = partial(hard_suppression_per_class, labels=labels) if by_class else hard_suppression
        indices, kept = hard(segments, scores, tiou=settings.tiou, min_score=min_score, max_kept=max_kept)
    else:
        soft = partial(soft_suppression_per_class, labels=labels) if by_class else soft_suppression
        indices, kept = soft(segments, scores, sigma=settings.sigma, min_score=min_score, max_kept=max_kept)
    return indices, segments[indices], kept
