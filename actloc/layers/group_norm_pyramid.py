"""Convolutions with group norm (Wu and He, 2018), and the pyramid of them that AFSD's heads see."""

import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.anchor_head import ConvNormPyramid


class ConvGroupNorm(nn.Module):
    """A convolution of odd kernel, a norm over groups of channels and all steps, and a ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, groups: int, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
        self.norm = nn.GroupNorm(groups, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T / stride), rounded up."""
        return F.relu(self.norm(self.conv(features)))


class GroupNormPyramid(nn.Module):
    """Levels that halve in length, and a path from coarse to fine ones."""

    def __init__(self, dim: int, num_levels: int, groups: int) -> None:
        super().__init__()
        self.halving = nn.ModuleList(
            ConvGroupNorm(dim, dim, 3, groups, stride=2, bias=False) for _ in range(num_levels - 1)
        )
        self.top_down = ConvNormPyramid(dim, dim, num_levels, lambda channels: nn.GroupNorm(groups, channels))

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, C, T) to levels (B, C, T / 2^l), the first at full length; coarse levels are added to finer ones."""
        levels = [features]
        for halve in self.halving:
            levels.append(halve(levels[-1]))
        pyramid: list[Tensor] = self.top_down(levels)
        return pyramid
