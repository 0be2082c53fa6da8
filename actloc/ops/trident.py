"""Distances to the borders of actions as TriDet's head gives them: expectations over bins (Shi et al., 2023, 3.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.ops.pointwise import PointOutputs


@dataclass(frozen=True)
class TridentOutputs(PointOutputs):
    """Points whose distances depend on the class; `offsets` (B, P, 2 * bins): logits of bins before and after a point.

    Bin j before it is `bins - 1 - j` steps of its level away, bin j after it j steps.
    """

    start_logits: Tensor
    """(B, P, K): how much a class starts at a point; zero on padded points."""
    end_logits: Tensor
    """(B, P, K): how much a class ends at a point; zero on padded points."""

    def distances(self, videos: Tensor, points: Tensor, classes: Tensor) -> Tensor:
        """Distances to start and end (N, 2), in strides, at least float32, for N triples of numbers, (N,) each."""
        before, after = at_least_float32(self.offsets)[videos, points].chunk(2, dim=1)  # (N, bins) each
        steps = torch.arange(before.shape[1], device=points.device)
        back = steps.flip(0)
        start = before + self._neighbours(self.start_logits, videos, points[:, None] - back, classes, points)
        end = after + self._neighbours(self.end_logits, videos, points[:, None] + steps, classes, points)
        return torch.stack(((start.softmax(dim=1) * back).sum(dim=1), (end.softmax(dim=1) * steps).sum(dim=1)), dim=1)

    def _neighbours(self, logits: Tensor, videos: Tensor, places: Tensor, classes: Tensor, points: Tensor) -> Tensor:
        """The logits (N, bins) of a class at `places` near each of `points`; outside the point's level they are 0."""
        lengths = torch.tensor(self.level_lengths, device=points.device)
        ends = lengths.cumsum(0).repeat_interleave(lengths)
        starts = ends - lengths.repeat_interleave(lengths)
        is_in_level = (places >= starts[points, None]) & (places < ends[points, None])
        found = at_least_float32(logits)[videos[:, None], places.clamp(0, logits.shape[1] - 1), classes[:, None]]
        return torch.where(is_in_level, found, 0.0)
