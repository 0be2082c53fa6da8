"""What detectors share whose every point, a step of a pyramid's level, predicts a segment: learning and selection.

ActionFormer (Zhang et al., 2022, arXiv 2202.07925) and its descendants differ in their networks and in what a point
learns, which `PointCriterion` is given as `assign`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.ops.criterion import Criterion
from actloc.ops.losses import SMALLEST_DENOMINATOR, distance_iou_loss, iou_around_point, sigmoid_focal_loss
from actloc.ops.points import Points, best_pairs, joined, labelled, level_points, longer
from actloc.structures import Detections, Targets

NORMALISER_MOMENTUM = 0.9  # ActionFormer, section 3.4: how much of the loss normaliser stays at each training step
SMALLEST_BALANCED_LOSS = 0.01  # official floor of the regression loss where the two losses balance themselves


@dataclass(frozen=True)
class PointOutputs:
    """What a network predicts at every point, the levels in a row, finest first."""

    points: Points
    logits: Tensor
    """(B, P, K): zero on padded points."""
    offsets: Tensor
    """(B, P, 2): distances to start and end, in strides of the level."""
    mask: Tensor
    """(B, P): true on real points."""
    level_lengths: list[int]
    """Points of each level; they add up to P."""

    def distances(self, videos: Tensor, points: Tensor, classes: Tensor) -> Tensor:
        """Distances to start and end (N, 2), in strides, at least float32, for N triples of numbers, (N,) each."""
        return at_least_float32(self.offsets)[videos, points]


@dataclass(frozen=True)
class Assignment:
    """What every point learns; background has no class, and what is said of padded points is ignored."""

    classes: Tensor
    """(B, P, K): 1 where a class is to be found; a point with a class is positive."""
    offsets: Tensor
    """(B, P, 2): distances of positive points to start and end, in strides of the level."""
    weights: Tensor | float = 1.0
    """(B, P): how much a positive point counts, in the losses and in their normaliser."""


Assign = Callable[[Points, list[Targets], PointOutputs | None], Assignment]
"""Says what points learn; without outputs it is asked for weights and classes only, see `weight_of`."""


class PointCriterion(Criterion):
    """Focal loss of all real points and DIoU loss of the positive ones, both divided by a running count of positives.

    With `counts_pairs` a point has a DIoU loss for each of its classes, and their focal losses are multiplied by the
    IoU of its segment to the power of `iou_power` (TriDet, section 3.4): a gradient also comes to the borders that way.

    Points in the unlabelled time of their video have no loss, unless they are positive: all of an action is labelled.
    The count moves at every call in training, or, once `start_step` was called, only there.
    """

    def __init__(
        self,
        assign: Assign,
        strides: list[int],
        ranges: Sequence[tuple[float, float]],
        *,
        label_smoothing: float,
        loss_weight: float,
        initial_normaliser: float,
        weight_follows_from_targets: bool = True,
        counts_pairs: bool = False,
        iou_power: float = 0.0,
    ) -> None:
        super().__init__()
        self.assign = assign
        self.strides = strides
        self.ranges = ranges
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight
        self.normaliser = initial_normaliser
        self.weight_follows_from_targets = weight_follows_from_targets
        self.counts_pairs = counts_pairs
        self.iou_power = iou_power
        self.moves_by_step = False

    def forward(self, outputs: PointOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """The two losses, float32 scalars."""
        assigned = self.assign(outputs.points, targets, outputs)
        positive = (assigned.classes.sum(dim=2) > 0) & outputs.mask
        if self.training and not self.moves_by_step:
            self._move_normaliser(float(torch.where(positive, assigned.weights, 0.0).sum()))
        smoothing = self.label_smoothing
        classes = assigned.classes * (1 - smoothing) + smoothing / (assigned.classes.shape[2] + 1)
        real = labelled(outputs.mask, outputs.points.steps, targets)
        weights = torch.where(positive, assigned.weights, real.float())[..., None]
        if self.counts_pairs:
            pairs = ((assigned.classes > 0) & positive[..., None]).nonzero(as_tuple=True)
            weights, distances = self._of_pairs(outputs, assigned, pairs, weights)
        else:
            distances = distance_iou_loss(at_least_float32(outputs.offsets), assigned.offsets) * assigned.weights
            distances = torch.where(positive, distances, 0.0)
        classification = (sigmoid_focal_loss(at_least_float32(outputs.logits), classes) * weights).sum()
        classification = classification / self.normaliser
        regression = distances.sum() / self.normaliser
        balance: Tensor | float = self.loss_weight
        if self.loss_weight <= 0:
            balance = classification.detach() / regression.detach().clamp(min=SMALLEST_BALANCED_LOSS)
        return {"classification": classification, "regression": balance * regression}

    def _of_pairs(
        self, outputs: PointOutputs, assigned: Assignment, pairs: tuple[Tensor, ...], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights (B, P, 1) of the focal losses, with a factor for each of `pairs`, and the pairs' DIoU losses (N,).

        `pairs` are numbers of videos, points and classes, (N,) each.
        """
        videos, points, classes = pairs
        learned, found = assigned.offsets[videos, points], outputs.distances(videos, points, classes)
        counted = weights[videos, points, 0]
        losses = distance_iou_loss(found, learned) * counted
        if self.iou_power:
            # a power below 1 has no finite slope at an IoU of 0
            factors = iou_around_point(found, learned).clamp(min=SMALLEST_DENOMINATOR) ** self.iou_power
            weights = weights.to(factors).expand_as(assigned.classes).index_put(pairs, factors * counted)
        return weights, losses

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """The number of positive points of videos of these lengths in steps."""
        assert self.weight_follows_from_targets, "how many points are positive depends on the outputs"
        device = targets[0].segments.device
        level_lengths = [math.ceil(max(lengths) / stride) for stride in self.strides]
        points = level_points(level_lengths, self.strides, self.ranges, device)
        return float(self.positive(points, points.steps < torch.tensor(lengths, device=device)[:, None], targets).sum())

    def positive(self, points: Points, is_real: Tensor, targets: list[Targets]) -> Tensor:
        """(B, P): which of the points are positive, of those that are real (B, P)."""
        return (self.assign(points, targets, None).classes.sum(dim=2) > 0) & is_real

    def start_step(self, weight: float) -> None:
        """Moves the normaliser by the positive points of a whole step; from now on calls leave it alone."""
        self.moves_by_step = True
        self._move_normaliser(weight)

    def _move_normaliser(self, num_positive: float) -> None:
        moved = (1 - NORMALISER_MOMENTUM) * max(num_positive, 1)
        self.normaliser = NORMALISER_MOMENTUM * self.normaliser + moved

    def training_state(self) -> dict[str, float]:
        """The normaliser."""
        return {"normaliser": self.normaliser}

    def load_training_state(self, state: dict[str, float]) -> None:
        """Goes on from what `training_state` gave."""
        self.normaliser = state["normaliser"]


def select_points(
    outputs: PointOutputs, score_threshold: float, kept_per_level: int, shortest_steps: float
) -> list[Detections]:
    """Each video's scored segments in feature steps: of every level the `kept_per_level` best above the threshold.

    Among these, segments of `shortest_steps` or less are dropped.
    """
    videos = best_of_levels(outputs, score_threshold, kept_per_level)
    return [longer(joined(levels), shortest_steps) for levels in videos]


def best_of_levels(outputs: PointOutputs, score_threshold: float, kept_per_level: int) -> list[list[Detections]]:
    """Of each video and each level the best segments, as `best_segments` takes them."""
    scores = at_least_float32(outputs.logits).sigmoid() * outputs.mask[..., None]
    videos = []
    for video, of_video in enumerate(scores):
        levels, first = [], 0
        for of_level in of_video.split(outputs.level_lengths):
            segments_of = partial(_segments, outputs, video, first)
            levels.append(best_pairs(of_level, segments_of, score_threshold, kept_per_level))
            first += len(of_level)
        videos.append(levels)
    return videos


def _segments(outputs: PointOutputs, video: int, first: int, points: Tensor, classes: Tensor) -> Tensor:
    """The segments (N, 2) in feature steps of N pairs of a point, counted from the video's `first`, and a class."""
    rows = points + first
    reaches = outputs.distances(torch.full_like(rows, video), rows, classes) * outputs.points.strides[rows, None]
    steps = outputs.points.steps[rows]
    return torch.stack((steps - reaches[:, 0], steps + reaches[:, 1]), dim=1)


def part_of(outputs: PointOutputs, strides: list[int], start: int, end: int) -> PointOutputs:
    """The points from step `start` to `end` of outputs; both are whole steps of the coarsest level."""
    places, before = [], 0
    for stride, length in zip(strides, outputs.level_lengths, strict=True):
        places.append(torch.arange(before + start // stride, before + end // stride))
        before += length
    chosen = torch.cat(places).to(outputs.logits.device)
    points = outputs.points
    columns = (points.steps, points.strides, points.nearest, points.farthest)
    return PointOutputs(
        Points(*(column[chosen] for column in columns)),
        outputs.logits[:, chosen],
        outputs.offsets[:, chosen],
        outputs.mask[:, chosen],
        [len(of_level) for of_level in places],
    )
