"""Normalisation of feature sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def channel_norm(dim: int, is_used: bool) -> nn.Module:
    """A `ChannelNorm`, or the identity; the convolution before it has a bias only if there is no norm."""
    return ChannelNorm(dim) if is_used else nn.Identity()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every step, including padded steps: an all-zero step becomes the bias.

    The parameters are (1, C, 1), as in official ActionFormer checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dim, 1))
        self.bias = nn.Parameter(torch.zeros(1, dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to the same shape; the result is a view of (B, T, C) memory."""
        steps = features.transpose(1, 2)
        return F.layer_norm(steps, (steps.shape[2],), self.weight.flatten(), self.bias.flatten()).transpose(1, 2)
