"""The steps of a pyramid that predict segments, and what each of them should predict (ActionFormer, section 3.3)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actloc.structures import Detections, Targets

KEPT_PER_LEVEL = "detector.kept_per_level"
EQUALLY_SHORT_STEPS = 1e-3  # actions this close in length to the shortest one at a point are all its classes

SegmentsOf = Callable[[Tensor, Tensor], Tensor]
"""The segments (N, 2), in feature steps, of N pairs: numbers of points and of classes, (N,) each."""


@dataclass(frozen=True)
class Points:
    """Every point of every level, finest level first; each tensor is (P,), in feature steps.

    A point answers for actions whose farther border is at least `nearest` and at most `farthest` away.
    """

    steps: Tensor
    strides: Tensor
    nearest: Tensor
    farthest: Tensor


def level_points(
    lengths: list[int],
    strides: list[int],
    ranges: Sequence[tuple[float, float]],
    device: torch.device | None = None,
) -> Points:
    """The points of levels with `lengths` points each: point i of a level is at step i * stride."""
    steps = torch.cat([torch.arange(length) * stride for length, stride in zip(lengths, strides, strict=True)])
    per_level = torch.tensor([(stride, *reach) for stride, reach in zip(strides, ranges, strict=True)])
    columns = per_level.repeat_interleave(torch.tensor(lengths), dim=0).T
    return Points(*torch.stack((steps.float(), *columns)).to(device).unbind())


def assign_targets(
    points: Points, targets: list[Targets], num_classes: int, center_radius: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Classes (B, P, K), 1 where a class is to be found, and offsets (B, P, 2) to start and end, in strides.

    A point is positive for actions that it is in, no farther than `center_radius` strides from the centre, and whose
    farther border is in its range. The shortest of them is its action; background has no class and zero offsets.
    """
    segments, labels = _batch(targets, points.steps.device)
    starts, ends = segments[:, None, :, 0], segments[:, None, :, 1]  # (B, 1, N) against (P, 1)
    steps, strides = points.steps[:, None], points.strides[:, None]
    to_start, to_end = steps - starts, ends - steps  # (B, P, N)
    centers = 0.5 * (starts + ends)
    first = torch.maximum(centers - strides * center_radius, starts)
    last = torch.minimum(centers + strides * center_radius, ends)
    farther = torch.maximum(to_start, to_end)
    passes = (torch.minimum(steps - first, last - steps) > 0) & (farther >= points.nearest[:, None])
    passes = passes & (farther <= points.farthest[:, None])
    lengths = torch.where(passes, ends - starts, math.inf)
    shortest, chosen = lengths.min(dim=2, keepdim=True)  # the first of equally short ones
    offsets = torch.cat((to_start.gather(2, chosen), to_end.gather(2, chosen)), dim=2) / strides
    equally_short = passes & (lengths <= shortest + EQUALLY_SHORT_STEPS)
    classes = (equally_short.float() @ F.one_hot(labels, num_classes).float()).clamp(max=1)
    return classes, torch.where(shortest < math.inf, offsets, 0.0)


def labelled(is_real: Tensor, steps: Tensor, targets: list[Targets]) -> Tensor:
    """Those of the points (B, P) that are real at which it is known what happens; points are at `steps` (P,)."""
    if all(target.unlabelled is None for target in targets):
        return is_real
    return is_real & ~torch.stack([target.is_unlabelled(steps) for target in targets])


def chosen_or_inside(chosen: Tensor, steps: Tensor, is_real: Tensor, segment: Tensor) -> Tensor:
    """The real points that are `chosen`; without any, those inside `segment` (2,), or else the nearest to its centre.

    Points are at `steps` (P,); `is_real` and `chosen` are (P,), as is what comes back: true for at least one point.
    """
    inside = (steps >= segment[0]) & (steps <= segment[1])
    for candidates in (chosen & is_real, inside & is_real):
        if candidates.any():
            return candidates
    distances = torch.where(is_real, (steps - segment.mean()).abs(), math.inf)
    return distances == distances.min()


def best_segments(scores: Tensor, segments: Tensor, score_threshold: float, max_kept: int) -> Detections:
    """The best pairs of a point and a class, by falling score: scores are (P, K), segments (P, 2) in feature steps.

    Of those above `score_threshold` the first `max_kept` are taken. Of equal scores the earlier point comes first, then
    the lower class.
    """
    return best_pairs(scores, lambda points, classes: segments[points], score_threshold, max_kept)


def best_pairs(scores: Tensor, segments_of: SegmentsOf, score_threshold: float, max_kept: int) -> Detections:
    """As `best_segments`, where each class may have a segment of its own: only those of the best are asked for."""
    flat = scores.flatten()
    above = (flat > score_threshold).nonzero().squeeze(1)
    best = above[flat[above].argsort(descending=True, stable=True)[:max_kept]]
    points, classes = best // scores.shape[1], best % scores.shape[1]
    cut_by = frozenset({KEPT_PER_LEVEL} if len(above) > max_kept else ())
    return Detections(segments_of(points, classes), flat[best], classes, cut_by=cut_by)


def best_of_both(earlier: Detections, later: Detections, max_kept: int) -> Detections:
    """What `best_segments` gives for the points of both, from what it gave for earlier points and for later ones."""
    both = joined([earlier, later])
    best = both.scores.argsort(descending=True, stable=True)[:max_kept]
    cut_by = both.cut_by | ({KEPT_PER_LEVEL} if len(both) > max_kept else set())
    return Detections(both.segments[best], both.scores[best], both.labels[best], cut_by=cut_by)


def longer(found: Detections, shortest_steps: float) -> Detections:
    """Those that are longer than `shortest_steps`, in the same order."""
    is_long = found.segments[:, 1] - found.segments[:, 0] > shortest_steps
    return Detections(found.segments[is_long], found.scores[is_long], found.labels[is_long], cut_by=found.cut_by)


def joined(parts: Sequence[Detections]) -> Detections:
    """Detections without class scores, one part after the other."""
    return Detections(
        torch.cat([part.segments for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
        cut_by=frozenset().union(*(part.cut_by for part in parts)),
    )


def _batch(targets: list[Targets], device: torch.device) -> tuple[Tensor, Tensor]:
    """Segments (B, N, 2) and labels (B, N) of all videos; what fills up has no length, so no point is in it."""
    segments = pad_sequence([target.segments.to(device, torch.float32) for target in targets], batch_first=True)
    labels = pad_sequence([target.labels.to(device, torch.long) for target in targets], batch_first=True)
    missing = 1 if segments.shape[1] == 0 else 0  # a minimum needs at least one column
    return F.pad(segments, (0, 0, 0, missing)), F.pad(labels, (0, missing))
