"""What BMN samples and learns (Lin et al., 2019, "BMN: Boundary-Matching Network", arXiv 1907.09702; JJBOY's code).

A cell (i, j) of its map is the segment [i / T, (j + 1) / T] of a sequence of T steps, for i <= j; cells below the
diagonal are no segments.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actloc.ops.cascade import (
    BOUNDARY_REACH,
    CLASS_TIOU,
    HIGH_TIOU,
    IS_BOUNDARY,
    LOW_TIOU,
    as_parts,
    balanced_loss,
    overlaps,
    thinned,
)
from actloc.ops.criterion import Draw, DrawingCriterion
from actloc.structures import Targets

SURROUNDINGS = 0.5  # of a segment's length, on both sides: they are sampled with it
IOU_WEIGHT = 10.0  # of half the mean squared error


@dataclass(frozen=True)
class Samples:
    """Which steps the samples of every cell are the mean of: a sparse matrix of (S * T, T * T), column after column.

    As a dense one it has T * S * T * T numbers: 128 MB for 100 steps and 32 samples, most of them 0.
    """

    rows: Tensor
    """(N,) sample * T + step, of each number."""
    weights: Tensor
    """(N,) the numbers, float32."""
    first: Tensor
    """(T * T,) for each cell, start * T + end, the place of its first number."""


def samples(num_steps: int, num_samples: int, points_per_sample: int) -> Samples:
    """The samples of every cell: evenly spaced points of the segment and its surroundings, a few for each sample.

    A point between two steps takes from both (paper, section 3.3). As in the official code the last step of a segment
    counts whole, points outside the sequence take nothing, and one less than a step before it takes all of the first.
    """
    starts, ends = np.triu_indices(num_steps)
    lengths = (ends + 1 - starts) + 1.0
    lowest, highest = starts - lengths * SURROUNDINGS, ends + 1 + lengths * SURROUNDINGS
    spacing = (highest - lowest) / (num_samples * points_per_sample - 1.0)
    points = lowest[:, None] + spacing[:, None] * np.arange(num_samples * points_per_sample)
    fractions, below = np.modf(points)  # both towards zero: of a negative point the fraction is negative too
    above = np.ceil(points)
    steps = np.stack((below, above)).astype(np.int64)
    shares = np.stack((1 - fractions, fractions))
    sample = np.arange(num_samples).repeat(points_per_sample)
    keys = ((starts * num_steps + ends)[:, None] * num_samples + sample) * num_steps + steps
    is_inside = (steps >= 0) & (steps < num_steps)
    found, places = np.unique(keys[is_inside], return_inverse=True)
    weights = np.bincount(places, shares[is_inside], len(found)) / points_per_sample
    found, weights = found[weights != 0], weights[weights != 0]
    cells, rows = np.divmod(found, num_samples * num_steps)
    first = np.searchsorted(cells, np.arange(num_steps**2))
    return Samples(torch.from_numpy(rows), torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(first))


@dataclass(frozen=True)
class MatchingOutputs:
    """What the network predicts of a batch; all from 0 to 1."""

    boundaries: Tensor
    """(B, 2, T): probabilities of a start and of an end at each step."""
    ious: Tensor
    """(B, 2, T, T): for each cell two predictions of its IoU with an action, its value and whether it is high."""


def is_segment(num_steps: int, device: torch.device) -> Tensor:
    """(T, T): which cells are segments."""
    return torch.ones(num_steps, num_steps, dtype=torch.bool, device=device).triu()


def cell_parts(num_steps: int, device: torch.device) -> Tensor:
    """(T, T, 2) float64: the ends of every cell, parts of the sequence; meaningless where it is no segment."""
    edges = torch.arange(num_steps + 1, dtype=torch.float64, device=device)
    return torch.stack(torch.meshgrid(edges[:-1], edges[1:], indexing="ij"), dim=-1) / num_steps


def iou_targets(segments: Tensor, num_steps: int) -> Tensor:
    """(T, T): the highest IoU of each cell with a segment (N, 2), parts of the sequence; 0 for what is none."""
    ious = overlaps(cell_parts(num_steps, segments.device)[:, :, None], segments.double())
    return torch.cat((ious, ious.new_zeros(num_steps, num_steps, 1)), dim=2).amax(dim=2)


def near_boundaries(segments: Tensor, num_steps: int) -> Tensor:
    """(2, T): the share of the step around each i / T that is near a start, and near an end, of segments (N, 2)."""
    centers = torch.arange(num_steps, dtype=torch.float64, device=segments.device)
    boundaries = segments.double().T[..., None] * num_steps  # (2, N, 1)
    highest = torch.minimum(centers + 0.5, boundaries + BOUNDARY_REACH)
    shares = (highest - torch.maximum(centers - 0.5, boundaries - BOUNDARY_REACH)).clamp(min=0)
    return torch.cat((shares, shares.new_zeros(2, 1, num_steps)), dim=1).amax(dim=1)


class MatchingCriterion(DrawingCriterion):
    """BMN's losses: of the boundaries, and of both predictions of the IoU. All balances are within the batch."""

    def __init__(self, *, official_balance: bool) -> None:
        super().__init__()
        self.official_balance = official_balance

    def with_draws(self, outputs: MatchingOutputs, targets: list[Targets], draw: Draw) -> dict[str, Tensor]:
        """Float32 scalars; `draw` is asked twice for as many numbers as all cells of the batch."""
        boundaries, num_steps = outputs.boundaries, outputs.boundaries.shape[2]
        actions = [as_parts(target.segments.double(), num_steps).clamp(0, 1) for target in targets]
        near = torch.stack([near_boundaries(segments, num_steps) for segments in actions]).to(boundaries)  # (B, 2, T)
        starts, ends = (balanced_loss(boundaries[:, side], near[:, side] > IS_BOUNDARY) for side in (0, 1))
        ious = torch.stack([iou_targets(segments, num_steps) for segments in actions]).to(outputs.ious)
        chosen = is_segment(num_steps, ious.device)
        return {
            "boundaries": starts + ends,
            "iou_value": IOU_WEIGHT * self._value_loss(outputs.ious[:, 0], ious, chosen, draw),
            "iou_class": balanced_loss(outputs.ious[:, 1, chosen], ious[:, chosen] > CLASS_TIOU),
        }

    def _value_loss(self, values: Tensor, ious: Tensor, chosen: Tensor, draw: Draw) -> Tensor:
        """Half the mean squared error over cells of high IoU, and about as many of middle and of low IoU above 0.

        Without any of high IoU, over all segments: officially this is not a number.
        """
        high, low = ious > HIGH_TIOU, (ious > 0) & (ious <= LOW_TIOU)
        count = high.sum()
        if not count:
            return 0.5 * (values - ious)[:, chosen].square().mean()
        middle, low = (
            thinned(group, count, draw(ious.numel()).view_as(ious), as_official=self.official_balance)
            for group in ((ious > LOW_TIOU) & ~high, low)
        )
        weights = high.to(values) + middle.to(values) + low.to(values)
        return 0.5 * (weights * (values - ious)).square().sum() / weights.sum()
