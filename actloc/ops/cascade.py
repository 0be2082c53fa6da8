"""What ETAD learns (Liu et al., 2022, arXiv 2205.07134): boundaries, and candidates that each stage refines.

The losses of a stage take part of the candidates: those that are far from every action are drawn at random, about as
many as are near one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.ops.criterion import Draw, DrawingCriterion
from actloc.ops.points import labelled
from actloc.structures import Targets

EPSILON = 1e-6  # inside logarithms, and the shortest length that a target is divided by
BOUNDARY_REACH = 1.5  # steps, on both sides of a boundary
IS_BOUNDARY = 0.5  # share of a step near a boundary from which it counts as one
CLASS_TIOU = 0.9  # with its action, from which a candidate is one for the first IoU score
HIGH_TIOU, LOW_TIOU = 0.7, 0.3  # between the three groups of candidates of the second IoU score
IOU_WEIGHT, OFFSET_WEIGHT, END_CLASS_WEIGHT = 5.0, 10.0, 0.5
STEP_CENTER = 0.5  # step i reaches from i - 0.5 to i + 0.5, and the first begins where parts of the sequence do


@dataclass(frozen=True)
class Stage:
    """What a stage of the cascade predicts; segments are parts of the sequence, from 0 to 1."""

    anchors: Tensor
    """(B, K, 2): what it refines."""
    scores: Tensor
    """(B, K, 4): two predictions of the IoU with an action, and whether start and end are boundaries; 0 to 1."""
    offsets: Tensor
    """(B, K, 4): of start, end and centre, in lengths of the anchor, and the logarithm of its growth."""
    segments: Tensor
    """(B, K, 2): the anchors after these offsets, without gradient."""


@dataclass(frozen=True)
class CascadeOutputs:
    """What the network predicts of a batch."""

    boundaries: Tensor
    """(B, 2, T): probabilities of a start and of an end at each step."""
    stages: list[Stage]


@dataclass(frozen=True)
class _Learned:
    """What the candidates of a batch learn, whichever stage they are in."""

    matched: Tensor
    """(B, K, 2): their actions, parts of the sequence."""
    has_action: Tensor
    """(B, K)."""
    near: Tensor
    """(B, 2, T): whether a step is near a start, and near an end."""
    known: Tensor
    """(B, 2, T): whether it is known if it is."""
    unlabelled: list[Tensor | None]
    """Of each video (M, 2), parts of the sequence."""


def refined(anchors: Tensor, offsets: Tensor) -> Tensor:
    """Anchors (..., 2) after offsets (..., 4): the mean of those with moved ends and those moved by the centre."""
    starts, ends = anchors.unbind(dim=-1)
    lengths, centers = ends - starts, 0.5 * (starts + ends)
    of_start, of_end, of_center, log_growth = offsets.unbind(dim=-1)
    # the official order of operations: length and centre of each, then the mean
    moved = torch.stack((starts + lengths * of_start, ends + lengths * of_end), dim=-1)
    half, center = 0.5 * lengths * log_growth.exp(), centers + lengths * of_center
    return 0.5 * (moved + torch.stack((center - half, center + half), dim=-1))


def as_parts(segments: Tensor, num_steps: int) -> Tensor:
    """Segments in feature steps as parts of a sequence of `num_steps`."""
    return (segments + STEP_CENTER) / num_steps


def in_steps(parts: Tensor, num_steps: int) -> Tensor:
    """Parts of a sequence of `num_steps` as segments in feature steps."""
    return parts * num_steps - STEP_CENTER


def boundary_targets(segments: Tensor, num_steps: int) -> Tensor:
    """(2, T): the share of each step that is near a start, and near an end, of segments (N, 2), parts of all steps."""
    edges = torch.arange(num_steps + 1, dtype=segments.dtype, device=segments.device) / num_steps
    boundaries, reach = segments.T[..., None], BOUNDARY_REACH / num_steps  # (2, N, 1)
    shared = torch.minimum(edges[1:], boundaries + reach) - torch.maximum(edges[:-1], boundaries - reach)
    shares = shared.clamp(min=0) / (1 / num_steps + EPSILON)
    return F.pad(shares, (0, 0, 0, 1)).amax(dim=1)  # without segments zero


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """IoU of segments (..., 2), broadcast against each other; 0 for segments that end before they start."""
    shared = torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])
    shared = shared.clamp(min=0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - shared
    return torch.where(shared > 0, shared / union, 0)


def matched_actions(anchors: Tensor, segments: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The action (B, K, 2) of highest IoU with each anchor (B, K, 2), and whether its video has one (B, K)."""
    matched, has_action = torch.zeros_like(anchors), anchors.new_zeros(anchors.shape[:2], dtype=torch.bool)
    for row, (listed, actions) in enumerate(zip(anchors, segments, strict=True)):
        if len(actions):
            matched[row] = actions[overlaps(listed[:, None], actions).argmax(dim=1)]
            has_action[row] = True
    return matched, has_action


def are_settled(anchors: Tensor, ious: Tensor, unlabelled: list[Tensor | None]) -> Tensor:
    """Whether `ious` (B, K) are the highest that anchors (B, K, 2) have with any action, listed or not: (B, K).

    Actions that nobody has listed are in the `unlabelled` intervals (M, 2) of their video, so the IoU with one of them
    is at most the share of the anchor that is in its interval. All are parts of the sequence.
    """
    settled = torch.ones_like(ious, dtype=torch.bool)
    for row, intervals in enumerate(unlabelled):
        if intervals is not None:
            starts, ends = anchors[row, :, :1], anchors[row, :, 1:]  # (K, 1)
            shared = torch.minimum(ends, intervals[:, 1]) - torch.maximum(starts, intervals[:, 0])  # (K, M)
            # up to EPSILON an anchor only touches the interval; one that ends before it starts overlaps nothing
            most = torch.where(ends > starts, (shared - EPSILON) / (ends - starts), 0)
            settled[row] = (most <= ious[row, :, None]).all(dim=1)
    return settled


def thinned(chosen: Tensor, wanted: Tensor, draws: Tensor, *, as_official: bool) -> Tensor:
    """Whether each of the `chosen` (N,) is kept, so that about `wanted` are.

    Where more are wanted than there are, all are kept. The official test is then true for every candidate, also for
    those that are not chosen; `as_official` repeats this.
    """
    ratio = wanted / chosen.sum()
    if as_official:
        return draws * chosen > 1 - ratio
    return chosen & (draws > 1 - ratio)


class CascadeCriterion(DrawingCriterion):
    """ETAD's losses: of the boundaries, and of every stage.

    Steps in the unlabelled time of their video have no loss, unless they are near a boundary. Neither have candidates
    that an action there could overlap more than their own action does; without one, all that reach into that time.
    """

    def __init__(self, stage_tious: tuple[float, ...], *, official_balance: bool) -> None:
        super().__init__()
        self.stage_tious = stage_tious
        self.official_balance = official_balance

    def with_draws(self, outputs: CascadeOutputs, targets: list[Targets], draw: Draw) -> dict[str, Tensor]:
        """Float32 scalars: `boundaries`, and one for each stage.

        `draw` is asked for as many numbers as there are candidates, up to five times for each stage: for the first IoU
        score, twice for the second, for starts, for ends.
        """
        boundaries, first = outputs.boundaries, outputs.stages[0].anchors
        num_steps = boundaries.shape[2]
        actions = [as_parts(target.segments.to(first), num_steps) for target in targets]
        near = torch.stack([boundary_targets(segments, num_steps) for segments in actions])  # (B, 2, T)
        near = near > IS_BOUNDARY
        steps = torch.arange(num_steps, device=near.device)
        known = near | labelled(torch.ones_like(near[:, 0]), steps, targets)[:, None]
        starts, ends = (
            balanced_loss(boundaries[:, side][known[:, side]], near[:, side][known[:, side]]) for side in (0, 1)
        )
        losses = {"boundaries": starts + ends}
        unlabelled = [
            None if one.unlabelled is None else as_parts(one.unlabelled.to(first), num_steps) for one in targets
        ]
        learned = _Learned(*matched_actions(first, actions), near, known, unlabelled)
        for number, (stage, tiou) in enumerate(zip(outputs.stages, self.stage_tious, strict=True), start=1):
            losses[f"stage_{number}"] = self._stage_loss(stage, tiou, learned, draw)
        return losses

    def _stage_loss(self, stage: Stage, tiou: float, learned: _Learned, draw: Draw) -> Tensor:
        anchors, num_steps = stage.anchors, learned.near.shape[2]
        ious = torch.where(learned.has_action, overlaps(anchors, learned.matched), 0)
        settled = are_settled(anchors, ious, learned.unlabelled)
        cells = (anchors * num_steps).nan_to_num().clamp(0, num_steps - 1).long()  # (B, K, 2)
        near, known = (
            steps.transpose(1, 2).take_along_dim(cells, dim=1)[settled] for steps in (learned.near, learned.known)
        )  # (N, 2), N settled candidates of all videos
        ious = ious[settled]
        class_score, iou_score, start_score, end_score = stage.scores[settled].unbind(dim=1)
        iou_class = self._thinned_loss(class_score, ious > CLASS_TIOU, draw)
        iou_value = self._iou_loss(iou_score, ious, draw)
        is_positive = ious > tiou
        wanted = _offsets_between(anchors, learned.matched)[settled][is_positive]
        found = stage.offsets[settled][is_positive]
        offsets = F.smooth_l1_loss(found, wanted, reduction="sum") / is_positive.sum().clamp(min=1)
        start_class, end_class = (
            self._thinned_loss(scores[known[:, side]], near[known[:, side], side], draw)
            for side, scores in enumerate((start_score, end_score))
        )
        return (
            iou_class + IOU_WEIGHT * iou_value + OFFSET_WEIGHT * offsets + END_CLASS_WEIGHT * (start_class + end_class)
        )

    def _thinned_loss(self, scores: Tensor, positive: Tensor, draw: Draw) -> Tensor:
        """The mean log loss (both (N,)) over positive candidates and about as many others; over all without any.

        Without candidates 0.
        """
        no_loss = -(1 - scores + EPSILON).log()
        count = positive.sum()
        if not count:
            return no_loss.mean() if len(scores) else no_loss.sum()
        others = thinned(~positive, count, draw(len(scores)), as_official=self.official_balance)
        total = -(scores + EPSILON).log()[positive].sum() + no_loss[others].sum()
        return total / (count + others.sum())

    def _iou_loss(self, scores: Tensor, ious: Tensor, draw: Draw) -> Tensor:
        """The mean squared error over candidates of high IoU, and about as many of middle and of low IoU.

        Without candidates of high IoU the mean over all, and without any 0.
        """
        high, low = ious > HIGH_TIOU, ious <= LOW_TIOU
        count = high.sum()
        if not count:
            return F.mse_loss(scores, ious, reduction="mean" if len(scores) else "sum")
        middle, low = (
            thinned(group, count, draw(len(scores)), as_official=self.official_balance) for group in (~high & ~low, low)
        )
        weights = high.to(scores) + middle.to(scores) + low.to(scores)
        return ((weights * (scores - ious)) ** 2).sum() / weights.sum()


def balanced_loss(scores: Tensor, positive: Tensor) -> Tensor:
    """Half the mean log loss of the positive steps and half that of the others; without one kind, of the other.

    Both have the same shape; without any steps the loss is 0.
    """
    parts = [-(score + EPSILON).log() for score in (scores[positive], 1 - scores[~positive])]
    means = [part.mean() for part in parts if len(part)]
    return torch.stack(means).mean() if means else scores.sum()


def _offsets_between(anchors: Tensor, actions: Tensor) -> Tensor:
    """(..., 4): what would make anchors (..., 2) the actions; of start, end, centre, and the logarithm of growth."""
    lengths = anchors.diff(dim=-1).clamp(min=EPSILON)
    ends = (actions - anchors) / lengths
    growth = (actions.diff(dim=-1) / lengths + EPSILON).log()
    return torch.cat((ends, ends.mean(dim=-1, keepdim=True), growth), dim=-1)
