"""ETAD's head (Liu et al., 2022, arXiv 2205.07134): what it predicts of a segment from features in and around it."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.precision import at_least_float32
from actloc.ops.roi_align import roi_align

EXTENSION = 0.5  # of a segment's length, on both sides
NUM_BINS = 24  # over the extended segment
END_BINS = 6  # the first are the extension before the start, the last the one after the end
AT_ONCE = 1024  # segments of each video whose features are in memory together
CENTER_SCALE = 0.5  # of the outputs for centre and width


class BinsLinear(nn.Linear):
    """A linear layer over bins (N, bins, C) whose weight has the official order: channel by channel."""

    def __init__(self, channels: int, num_bins: int, out_features: int) -> None:
        super().__init__(channels * num_bins, out_features)
        self.channels = channels

    def forward(self, bins: Tensor) -> Tensor:
        """(N, bins, C) to (N, out)."""
        # reordering the weight costs less than reordering the bins of thousands of segments
        weight = self.weight.view(len(self.weight), self.channels, -1).transpose(1, 2).flatten(1)
        return F.linear(bins.flatten(1), weight, self.bias)


def _perceptron(*dims: int) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(dims):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ProposalHead(nn.Module):
    """One stage of the cascade."""

    def __init__(self, in_channels: int, dim: int, trunk_dim: int) -> None:
        super().__init__()
        self.reduction = nn.Conv1d(in_channels, dim, 3, padding=1)
        self.trunk = BinsLinear(dim, NUM_BINS, trunk_dim)
        self.iou = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.boundary_class = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.center = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.start_bins, self.end_bins = (BinsLinear(dim, END_BINS, trunk_dim) for _ in range(2))
        self.start, self.end = (_perceptron(trunk_dim, dim, dim, dim, 1) for _ in range(2))

    def forward(self, features: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, 4) and offsets (B, K, 4) of anchors (B, K, 2), parts of the sequence, in features (B, C, T).

        Logits are of two IoUs, of a start and of an end. Offsets are of start, end and centre, in lengths of the
        anchor, and the logarithm of its growth.
        """
        reduced = F.relu(self.reduction(features))
        reach = EXTENSION * anchors.diff(dim=2) * anchors.new_tensor([-1.0, 1.0])
        extended = (anchors + reach) * features.shape[2]
        parts = [self._at(reduced, part) for part in torch.split(extended, AT_ONCE, dim=1)]
        logits, offsets = (at_least_float32(torch.cat(part, dim=1)) for part in zip(*parts, strict=True))
        return logits, offsets

    def _at(self, reduced: Tensor, extended: Tensor) -> tuple[Tensor, Tensor]:
        bins = roi_align(reduced, extended, NUM_BINS).flatten(0, 1)  # (B * K, bins, dim)
        trunk = F.relu(self.trunk(bins))
        logits = torch.cat((self.iou(trunk), self.boundary_class(trunk)), dim=1)
        start = self.start(F.relu(self.start_bins(bins[:, :END_BINS])))
        end = self.end(F.relu(self.end_bins(bins[:, -END_BINS:])))
        offsets = torch.cat((start, end, CENTER_SCALE * self.center(trunk)), dim=1)
        shape = (*extended.shape[:2], -1)
        return logits.view(shape), offsets.view(shape)


def refined(anchors: Tensor, offsets: Tensor) -> Tensor:
    """Anchors (..., 2) after offsets (..., 4): the mean of those with moved ends and those moved by the centre."""
    starts, ends = anchors.unbind(dim=-1)
    lengths, centers = ends - starts, 0.5 * (starts + ends)
    of_start, of_end, of_center, log_growth = offsets.unbind(dim=-1)
    # the official order of operations: length and centre of each, then the mean
    moved = torch.stack((starts + lengths * of_start, ends + lengths * of_end), dim=-1)
    half, center = 0.5 * lengths * log_growth.exp(), centers + lengths * of_center
    return 0.5 * (moved + torch.stack((center - half, center + half), dim=-1))
