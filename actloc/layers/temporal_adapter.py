"""The temporal-informative adapter of AdaTAD (Liu et al. 2024, arXiv 2311.17241, section 3.3), between ViT blocks."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_KERNEL = 3
_INITIAL_STD = 0.02


class TemporalAdapter(nn.Module):
    """A bottleneck whose narrow part mixes each place in the picture with itself one step earlier and one later.

    Steps follow each other through all clips of a window. `up_proj` starts at zero, so an adapter starts as nothing.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1))
        self.dwconv = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.conv = nn.Conv1d(width, width, 1)
        self.down_proj = nn.Linear(dim, width)
        self.up_proj = nn.Linear(width, dim)
        nn.init.normal_(self.dwconv.weight, std=math.sqrt(2 / _KERNEL))
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 / width))
        nn.init.trunc_normal_(self.down_proj.weight, std=_INITIAL_STD)
        nn.init.zeros_(self.up_proj.weight)
        for layer in (self.dwconv, self.conv, self.down_proj, self.up_proj):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, num_steps: int) -> Tensor:
        """What is to be added to the tokens (S, N, C) of all clips of one window, each `num_steps` steps of time."""
        narrow = F.gelu(self.down_proj(tokens))
        steps = narrow.reshape(len(tokens) * num_steps, -1, narrow.shape[2])  # (S * T, P, c): P places in each step
        places = steps.permute(1, 2, 0)
        mixed = self.conv(self.dwconv(places)).permute(2, 0, 1).reshape(narrow.shape)
        # the scale is on the weights: on the result it would keep one more tensor as wide as the network
        return F.linear(narrow + mixed, self.gamma * self.up_proj.weight, self.gamma * self.up_proj.bias)
