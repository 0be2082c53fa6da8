"""From a detector's scored segments, in feature steps, to a video's detections in seconds."""

import torch

from actloc.config import Suppression
from actloc.ops.suppression import soft_suppression, soft_suppression_per_class, vote
from actloc.structures import Detections, Grid


def postprocess(detections: Detections, grid: Grid, duration_s: float, settings: Suppression) -> Detections:
    """Detections in seconds within [0, `duration_s`], best first; overlapping ones are thinned out as `settings` ask.

    With method `none` all of them stay.
    """
    kept = _sorted(detections) if settings.method == "none" else _suppressed(detections, settings)
    return Detections(grid.seconds(kept.segments).clamp(0, duration_s), kept.scores, kept.labels)


def _sorted(detections: Detections) -> Detections:
    order = detections.scores.argsort(descending=True, stable=True)
    return Detections(detections.segments[order], detections.scores[order], detections.labels[order])


def _suppressed(detections: Detections, settings: Suppression) -> Detections:
    segments, scores = detections.segments.float().cpu().numpy(), detections.scores.float().cpu().numpy()
    labels = detections.labels.cpu().numpy()
    rule = {"sigma": settings.sigma, "min_score": settings.min_score}
    if settings.multiclass:
        indices, lowered = soft_suppression_per_class(segments, scores, labels, **rule, max_kept=settings.max_kept)
    else:
        indices, lowered = soft_suppression(segments, scores, **rule, max_kept=settings.max_kept)
    kept = segments[indices]
    if not settings.multiclass and settings.voting_threshold > 0:
        kept = vote(kept, segments, scores, settings.voting_threshold)
    return Detections(torch.from_numpy(kept), torch.from_numpy(lowered), torch.from_numpy(labels[indices]))
