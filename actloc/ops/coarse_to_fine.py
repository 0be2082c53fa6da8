"""What AFSD learns (Lin et al., 2021, arXiv 2103.13137): segments in two stages, boundaries, and a video's class.

Every point of a pyramid predicts a coarse segment around itself and then corrects it; both stages score action against
background, whatever the class of the action.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.ops.criterion import Criterion
from actloc.ops.losses import iou_around_point, softmax_focal_loss
from actloc.ops.points import labelled
from actloc.structures import Targets

BACKGROUND, ACTION = 0, 1  # the two confidences; of a video's classes background is the first too
FOCAL_WEIGHTS = (0.25, 0.75)  # of background and of action
BAND_PART = 10  # a boundary is a band a 10th as wide as its action,
NARROWEST_BAND = 2.0  # and at least this many fine positions
LEVEL_BOUNDARY_WEIGHT = 0.1  # of the boundaries that the refinement branches find on the finest level
NO_CLASS = -100  # of a video that is background as far as it is labelled
NOTHING_REACHES = 2.0  # an IoU that no segment has


@dataclass(frozen=True)
class CoarsePoints:
    """The points of all levels, finest first; each tensor is (P,), in feature steps.

    A point learns actions that it is in and whose farther border is farther away than `nearest`, at most `farthest`.
    """

    centers: Tensor
    nearest: Tensor
    farthest: Tensor


@dataclass(frozen=True)
class CoarseToFineOutputs:
    """What a network predicts, with two stages for every point."""

    points: CoarsePoints
    distances: Tensor
    """(B, P, 2): from the point to the start and the end of the coarse segment, in feature steps, above zero."""
    logits: Tensor
    """(B, P, 2): of background and action."""
    corrections: Tensor
    """(B, P, 2): what refinement adds to the distances, in halves of the coarse segment's length."""
    refined_logits: Tensor
    """(B, P, 2): as `logits`, of the refined segment."""
    quality_logits: Tensor
    """(B, P): of the refined segment's IoU with its action."""
    class_logits: Tensor
    """(B, 1 + K): of the video's class, background first."""
    boundary_features: tuple[Tensor, ...]
    """Each (B, C, L), never negative: the first half of the channels marks starts, the second half ends. First those of
    the fine grid, then those of the refinement branches on the finest level."""

    @property
    def refined_distances(self) -> Tensor:
        """(B, P, 2): as `distances`, of the refined segment; one may be negative."""
        return 0.5 * self.distances.sum(dim=2, keepdim=True) * self.corrections + self.distances


@dataclass(frozen=True)
class PointTargets:
    """What every point learns; distances of points that learn no action mean nothing."""

    positive: Tensor
    """(B, P): whether the point learns an action."""
    refined: Tensor
    """(B, P): whether it also learns to correct its coarse segment."""
    distances: Tensor
    """(B, P, 2): to the start and the end of its action, in feature steps."""


@torch.no_grad()
def assign_points(points: CoarsePoints, targets: list[Targets], distances: Tensor, refined_tiou: float) -> PointTargets:
    """Each point learns the shortest action in its range; coarse `distances` (B, P, 2) decide who is refined.

    Refined are the points whose coarse segment has an IoU of `refined_tiou` with the action, or the best of the video.
    """
    centers, assigned = points.centers[:, None], []
    for target, coarse in zip(targets, distances, strict=True):
        starts, ends = target.segments.to(coarse).T if len(target.labels) else coarse.new_full((2, 1), torch.inf)
        borders = torch.stack((centers - starts, ends - centers), dim=2)  # (P, N, 2)
        farther = borders.amax(dim=2)
        passes = (borders >= 0).all(dim=2) & (farther > points.nearest[:, None]) & (farther <= points.farthest[:, None])
        shortest, chosen = torch.where(passes, ends - starts, torch.inf).min(dim=1)
        positive = shortest < torch.inf
        to_borders = borders.take_along_dim(chosen[:, None, None], dim=1)[:, 0]
        ious = torch.where(positive, iou_around_point(coarse, to_borders), -torch.inf)
        assigned.append((positive, positive & (ious >= ious.max().clamp(max=refined_tiou)), to_borders))
    return PointTargets(*map(torch.stack, zip(*assigned, strict=True)))


def boundary_maps(target: Targets, num_positions: int, positions_per_step: float) -> Tensor:
    """(2, L): true at the positions around starts, and around ends, that count as boundaries."""
    segments = at_least_float32(target.segments) * positions_per_step  # (N, 2)
    half_band = 0.5 * (segments.diff(dim=1) / BAND_PART).clamp(min=NARROWEST_BAND)
    first, last = ((segments + side * half_band).round().clamp(0, num_positions - 1).T for side in (-1, 1))
    positions = torch.arange(num_positions, device=segments.device)
    return ((positions >= first[..., None]) & (positions <= last[..., None])).any(dim=1)


class CoarseToFineCriterion(Criterion):
    """AFSD's losses: each video's are divided by its own number of positive points, then averaged over the videos.

    The mean is over the videos of the whole step, once `start_step` was called. Points and positions in the unlabelled
    time of their video have no loss, unless they are boundaries; such a video without an action has no class either.
    """

    weight_follows_from_targets = True

    def __init__(self, refined_tiou: float, max_steps: int) -> None:
        super().__init__()
        self.refined_tiou = refined_tiou
        self.max_steps = max_steps
        self.videos_of_step: float | None = None

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """The number of videos."""
        return len(targets)

    def start_step(self, weight: float) -> None:
        """Sets the number of videos to average over, in training; without it, those of each call."""
        self.videos_of_step = weight

    def forward(self, outputs: CoarseToFineOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """Float32 scalars: two losses of each stage, of the refined segments' quality, of boundaries and the class."""
        distances, corrections = at_least_float32(outputs.distances), at_least_float32(outputs.corrections)
        assigned = assign_points(outputs.points, targets, distances, self.refined_tiou)
        videos = self.videos_of_step if self.training and self.videos_of_step else len(targets)

        def mean(values: Tensor, chosen: Tensor, counted: Tensor) -> Tensor:
            """The mean over videos of the sum of values (M,), at points `chosen` (B, P), per number of `counted`."""
            share = 1 / counted.sum(dim=1, keepdim=True).clamp(min=1)
            return (values * share.expand(chosen.shape)[chosen]).sum() / videos

        positive, refined = assigned.positive, assigned.refined
        every = labelled(torch.ones_like(positive), outputs.points.centers, targets)
        confidence, refined_confidence = (
            softmax_focal_loss(at_least_float32(logits)[every], are_actions[every].long(), FOCAL_WEIGHTS)
            for logits, are_actions in ((outputs.logits, positive), (outputs.refined_logits, refined))
        )
        to_correct = (assigned.distances - distances) / (0.5 * distances.sum(dim=2, keepdim=True))
        overlaps = iou_around_point(outputs.refined_distances[positive], assigned.distances[positive]).clamp(min=0)
        quality = F.binary_cross_entropy_with_logits(
            at_least_float32(outputs.quality_logits)[positive], overlaps, reduction="none"
        )
        # around the same point generalised IoU is IoU: the hull of both segments is their union
        coarse = 1 - iou_around_point(distances[positive], assigned.distances[positive])
        correction = F.smooth_l1_loss(corrections[refined], to_correct.detach()[refined], reduction="none")
        starts, ends = self._boundaries(outputs, targets)
        # the class of a video is that of its first action
        classes = torch.stack([F.pad(target.labels + 1, (0, 1), value=BACKGROUND)[0] for target in targets])
        for row, target in enumerate(targets):
            if target.unlabelled is not None and not len(target.labels):
                classes[row] = NO_CLASS
        return {
            "distances": mean(coarse, positive, positive),
            "confidence": mean(confidence, every, positive),
            "correction": mean(correction.sum(dim=1), refined, refined),
            "refined_confidence": mean(refined_confidence, every, refined),
            "quality": mean(quality, positive, positive),
            "starts": starts.sum() / videos,
            "ends": ends.sum() / videos,
            "video_class": F.cross_entropy(
                at_least_float32(outputs.class_logits), classes, ignore_index=NO_CLASS, reduction="sum"
            )
            / videos,
        }

    def _boundaries(self, outputs: CoarseToFineOutputs, targets: list[Targets]) -> tuple[Tensor, Tensor]:
        """Losses (B,) of starts and of ends."""
        fine, *of_levels = outputs.boundary_features
        maps = [boundary_maps(target, fine.shape[2], fine.shape[2] / self.max_steps) for target in targets]
        expected = torch.stack(maps)  # (B, 2, L)
        is_partly_labelled = any(target.unlabelled is not None for target in targets)
        if is_partly_labelled:
            positions = torch.arange(fine.shape[2], device=fine.device) * (self.max_steps / fine.shape[2])
            known = expected | labelled(torch.ones_like(expected[:, 0]), positions, targets)[:, None]
        losses = []
        for features, weight in ((fine, 1.0), *((one, LEVEL_BOUNDARY_WEIGHT) for one in of_levels)):
            found = torch.stack([at_least_float32(half).tanh().mean(dim=1) for half in features.chunk(2, dim=1)], dim=1)
            wanted = expected[..., :: fine.shape[2] // features.shape[2]].to(found)
            one_loss = F.binary_cross_entropy(found, wanted, reduction="none")
            if is_partly_labelled:
                one_loss = one_loss * known[..., :: fine.shape[2] // features.shape[2]]
            losses.append(weight * one_loss.mean(dim=2))
        starts, ends = torch.stack(losses).sum(dim=0).unbind(dim=1)
        return starts, ends
