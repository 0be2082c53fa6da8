"""ETAD's head (Liu et al., 2022, arXiv 2205.07134): what it predicts of a segment from features in and around it."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_BINS = 24  # over the extended segment
END_BINS = 6  # the first are the extension before the start, the last the one after the end
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
    """One stage of the cascade, for segments that are extended by half their length on both sides."""

    def __init__(self, dim: int, trunk_dim: int) -> None:
        super().__init__()
        self.trunk = BinsLinear(dim, NUM_BINS, trunk_dim)
        self.iou = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.boundary_class = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.center = _perceptron(trunk_dim, dim, dim, dim, 2)
        self.start_bins, self.end_bins = (BinsLinear(dim, END_BINS, trunk_dim) for _ in range(2))
        self.start, self.end = (_perceptron(trunk_dim, dim, dim, dim, 1) for _ in range(2))

    def forward(self, bins: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, 4) and offsets (N, 4), from the features (N, bins, dim) of extended segments.

        Logits are of two IoUs, of a start and of an end. Offsets are of start, end and centre, in lengths of the
        segment, and the logarithm of its growth.
        """
        trunk = F.relu(self.trunk(bins))
        logits = torch.cat((self.iou(trunk), self.boundary_class(trunk)), dim=1)
        start = self.start(F.relu(self.start_bins(bins[:, :END_BINS])))
        end = self.end(F.relu(self.end_bins(bins[:, -END_BINS:])))
        return logits, torch.cat((start, end, CENTER_SCALE * self.center(trunk)), dim=1)
