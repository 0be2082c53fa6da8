"""Convolutions with group norm (Wu and He, 2018), and the pyramid of them that AFSD's heads see."""

import torch.nn.functional as F
from torch import Tensor, nn


class ConvGroupNorm(nn.Module):
    """A convolution of odd kernel, a norm over groups of channels and all steps, and a ReLU unless `relu` is false."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        groups: int,
        *,
        stride: int = 1,
        bias: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
        self.norm = nn.GroupNorm(groups, out_channels)
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T / stride), rounded up."""
        normed: Tensor = self.norm(self.conv(features))
        return F.relu(normed) if self.relu else normed


class GroupNormPyramid(nn.Module):
    """Levels that halve in length, which then pass a feature pyramid network (Lin et al., 2017)."""

    def __init__(self, dim: int, num_levels: int, groups: int) -> None:
        super().__init__()
        self.halving = nn.ModuleList(
            ConvGroupNorm(dim, dim, 3, groups, stride=2, bias=False) for _ in range(num_levels - 1)
        )
        self.lateral = nn.ModuleList(
            ConvGroupNorm(dim, dim, 1, groups, bias=False, relu=False) for _ in range(num_levels)
        )
        self.output = nn.ModuleList(
            ConvGroupNorm(dim, dim, 3, groups, bias=False, relu=False) for _ in range(num_levels)
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, C, T) to levels (B, C, T / 2^l), the first at full length; coarse levels are added to finer ones."""
        levels = [features]
        for halve in self.halving:
            levels.append(halve(levels[-1]))
        merged = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        for number in reversed(range(len(merged) - 1)):
            merged[number] = merged[number] + F.interpolate(merged[number + 1], size=merged[number].shape[2])
        return [output(level) for output, level in zip(self.output, merged, strict=True)]
