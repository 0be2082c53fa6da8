"""Anchors: segments of fixed places and lengths that a network classifies, and moves onto actions.

As in RetinaNet (Lin et al., 2017, arXiv 1708.02002), in one dimension and with DaoTAD's numbers (arXiv 2107.04362).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.ops.criterion import Criterion
from actloc.ops.losses import segment_iou_loss, sigmoid_focal_loss
from actloc.ops.points import KEPT_PER_LEVEL
from actloc.structures import Detections, Targets

LARGEST_GROWTH = 1.0  # a decoded segment is at most e^1 times as long as its anchor
SMALLEST_UNION = 1e-6
NO_ACTION, IGNORED = -1, -2  # in place of an action's number


def level_anchors(lengths: list[int], strides: list[int], scale: float, per_position: int) -> Tensor:
    """Anchors (A, 2): of every level, position by position, `per_position` of growing length.

    Position i of a level is at step i * stride. The shortest anchor is `scale` strides long, and the lengths of a level
    and the next make one geometric row if its stride is twice as large.
    """
    widths = scale * 2 ** (torch.arange(per_position) / per_position)
    halves = torch.stack((-0.5 * widths, 0.5 * widths), dim=1)
    levels = [
        (torch.arange(length)[:, None, None] * stride + halves * stride).flatten(0, 1)
        for length, stride in zip(lengths, strides, strict=True)
    ]
    return torch.cat(levels)


def decoded(anchors: Tensor, codes: Tensor, largest_growth: float = math.inf) -> Tensor:
    """Segments (..., 2) that `codes` (..., 2) make of anchors (..., 2).

    A code is the shift of the centre, in lengths of the anchor, and the logarithm of the growth of its length.
    """
    lengths = anchors[..., 1] - anchors[..., 0]
    centers = anchors.mean(dim=-1) + codes[..., 0] * lengths
    halves = 0.5 * lengths * codes[..., 1].clamp(max=largest_growth).exp()
    return torch.stack((centers - halves, centers + halves), dim=-1)


def assign_anchors(anchors: Tensor, segments: Tensor, negative_tiou: float, positive_tiou: float) -> Tensor:
    """For each anchor (A, 2) the number of the action among segments (N, 2) that it learns, NO_ACTION or IGNORED.

    An anchor learns its best action from `positive_tiou` on, and none below `negative_tiou`; in between it is ignored.
    Every action is also learned by the anchors that overlap it as much as any does, whatever else they overlap; of
    several such actions the last counts. An action that no anchor overlaps is learned by none.
    """
    if len(segments) == 0:
        return torch.full((len(anchors),), NO_ACTION, device=anchors.device)
    overlaps = _overlaps(anchors[:, None], segments)  # (A, N)
    best, actions = overlaps.max(dim=1)
    background = torch.where(best < negative_tiou, NO_ACTION, IGNORED)
    assigned = torch.where(best >= positive_tiou, actions, background)
    is_best = (overlaps == overlaps.amax(dim=0)) & (overlaps > 0)
    last = (is_best * torch.arange(1, len(segments) + 1, device=anchors.device)).amax(dim=1) - 1
    return torch.where(last >= 0, last, assigned)


def _overlaps(first: Tensor, second: Tensor) -> Tensor:
    shared = (torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])).clamp(min=0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - shared
    return shared / union.clamp(min=SMALLEST_UNION)


@dataclass(frozen=True)
class AnchorOutputs:
    """What a network predicts for every anchor, the levels in a row, finest first."""

    anchors: Tensor
    """(A, 2): in feature steps."""
    logits: Tensor
    """(B, A, K)."""
    codes: Tensor
    """(B, A, 2): see `decoded`."""
    lengths: Tensor
    """(B,): steps of each video; what is found beyond them is cut off."""
    level_lengths: list[int]
    """Anchors of each level; they add up to A."""


@dataclass(frozen=True)
class AnchorTargets:
    """What every anchor learns."""

    classes: Tensor
    """(B, A, K): 1 where a class is to be found; an anchor with a class is positive."""
    segments: Tensor
    """(B, A, 2): the actions of positive anchors; zeros for the others."""
    is_used: Tensor
    """(B, A): false for anchors that are ignored."""

    @property
    def is_positive(self) -> Tensor:
        """(B, A)."""
        return self.classes.sum(dim=2) > 0

    @property
    def num_samples(self) -> int:
        """The positive anchors of all videos; a video without any counts as one."""
        return int(self.is_positive.sum(dim=1).clamp(min=1).sum())


class AnchorCriterion(Criterion):
    """Focal loss of all anchors and DIoU loss of the positive ones, both divided by the step's number of samples.

    Anchors whose centre is in the unlabelled time of their video are ignored, unless they are positive.

    Without `start_step` every call is a step.
    """

    weight_follows_from_targets = True
    anchors: Tensor

    def __init__(
        self, anchors: Tensor, num_classes: int, *, negative_tiou: float, positive_tiou: float, loss_weight: float
    ) -> None:
        super().__init__()
        self.register_buffer("anchors", anchors, persistent=False)
        self.num_classes = num_classes
        self.negative_tiou = negative_tiou
        self.positive_tiou = positive_tiou
        self.loss_weight = loss_weight
        self.step_weight: float | None = None

    def assign(self, anchors: Tensor, targets: list[Targets]) -> AnchorTargets:
        """What anchors (A, 2) learn of the videos' actions."""
        size = len(targets), len(anchors)
        classes = torch.zeros(*size, self.num_classes, device=anchors.device)
        segments = torch.zeros(*size, 2, device=anchors.device)
        is_used = torch.ones(size, dtype=torch.bool, device=anchors.device)
        for video, of_video in enumerate(targets):
            actions = assign_anchors(anchors, of_video.segments.float(), self.negative_tiou, self.positive_tiou)
            positive = (actions >= 0).nonzero().flatten()
            classes[video, positive, of_video.labels[actions[positive]]] = 1
            segments[video, positive] = of_video.segments.float()[actions[positive]]
            is_used[video] = actions != IGNORED
            if of_video.unlabelled is not None:
                is_used[video] &= (actions >= 0) | ~of_video.is_unlabelled(anchors.mean(dim=1))
        return AnchorTargets(classes, segments, is_used)

    def forward(self, outputs: AnchorOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """Named float32 scalars whose sum training minimises."""
        assigned = self.assign(outputs.anchors, targets)
        num_samples = assigned.num_samples if self.step_weight is None or not self.training else self.step_weight
        focal = sigmoid_focal_loss(at_least_float32(outputs.logits), assigned.classes.to(outputs.logits.dtype))
        classification = (focal * assigned.is_used[..., None]).sum() / num_samples
        positive = assigned.is_positive
        anchors = outputs.anchors.expand(*positive.shape, 2)[positive]
        found = decoded(anchors, at_least_float32(outputs.codes)[positive])
        regression = segment_iou_loss(found, assigned.segments[positive]).sum() / num_samples
        return {"classification": classification, "regression": self.loss_weight * regression}

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """The positive anchors of all videos; a video without any counts as one."""
        return self.assign(self.anchors, targets).num_samples

    def start_step(self, weight: float) -> None:
        """From now on losses are divided by the number of samples of the whole step."""
        self.step_weight = weight


def select_anchors(outputs: AnchorOutputs, score_threshold: float, kept_per_level: int) -> list[Detections]:
    """Each video's scored segments in feature steps, cut to its length, in the order of anchors and classes.

    Of every level the `kept_per_level` anchors of the best scores are taken, with all their classes above
    `score_threshold`.
    """
    scores = at_least_float32(outputs.logits).sigmoid()
    segments = decoded(outputs.anchors, at_least_float32(outputs.codes), LARGEST_GROWTH)
    segments = segments.clamp(min=0).minimum(outputs.lengths[:, None, None].to(segments.dtype))
    found = []
    for of_video, where in zip(scores, segments, strict=True):
        best, start, numbers, cut_by = of_video.amax(dim=1), 0, [], set()
        for length in outputs.level_lengths:
            of_level = best[start : start + length].argsort(descending=True, stable=True)
            numbers.append(start + of_level[:kept_per_level].sort().values)
            if length > kept_per_level and best[start + of_level[kept_per_level]] > score_threshold:
                cut_by.add(KEPT_PER_LEVEL)
            start += length
        kept = torch.cat(numbers)
        anchors, labels = (of_video[kept] > score_threshold).nonzero(as_tuple=True)
        scored = of_video[kept[anchors], labels]
        found.append(Detections(where[kept[anchors]], scored, labels, cut_by=frozenset(cut_by)))
    return found
