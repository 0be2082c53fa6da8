"""A top-down pyramid and RetinaNet's head in one dimension (Lin et al., 2017), with batch norm, as in DaoTAD.

DaoTAD: Wang et al., 2021, "RGB Stream Is Enough for Temporal Action Detection", arXiv 2107.04362.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_DEVIATION = 0.01  # of the head's weights


class FixedBatchNorm(nn.BatchNorm1d):
    """Batch norm that always normalises by its stored statistics, which do not change."""

    def train(self, mode: bool = True) -> "FixedBatchNorm":
        """Stays in evaluation."""
        return super().train(False)


MakeNorm = Callable[[int], nn.Module]


class ConvNorm(nn.Module):
    """A convolution without bias and a norm."""

    def __init__(self, in_channels: int, dim: int, kernel: int, make_norm: MakeNorm) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, dim, kernel, padding=kernel // 2, bias=False)
        self.bn = make_norm(dim)

    def forward(self, level: Tensor) -> Tensor:
        """(B, C, T) to (B, dim, T)."""
        normed: Tensor = self.bn(self.conv(level))
        return normed


class ConvNormPyramid(nn.Module):
    """A feature pyramid network: coarse levels are added to the finer ones, then convolved."""

    def __init__(self, in_channels: int, dim: int, num_levels: int, make_norm: MakeNorm) -> None:
        super().__init__()
        levels = range(num_levels)
        self.lateral_convs = nn.ModuleList(ConvNorm(in_channels, dim, 1, make_norm) for _ in levels)
        self.fpn_convs = nn.ModuleList(ConvNorm(dim, dim, 3, make_norm) for _ in levels)
        for block in (*self.lateral_convs, *self.fpn_convs):
            nn.init.xavier_uniform_(block.conv.weight)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, T_l), finest first, to (B, dim, T_l)."""
        merged = [lateral(level) for lateral, level in zip(self.lateral_convs, levels, strict=True)]
        for number in reversed(range(len(merged) - 1)):
            finer = merged[number]
            merged[number] = finer + F.interpolate(merged[number + 1], size=finer.shape[2], mode="nearest")
        return [conv(level) for conv, level in zip(self.fpn_convs, merged, strict=True)]


class AnchorHead(nn.Module):
    """Two towers that all levels share: for each anchor of a position one logit per class, and two numbers that code
    its segment."""

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_layers: int,
        anchors_per_position: int,
        prior_probability: float,
        make_norm: MakeNorm,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_convs = nn.ModuleList(ConvNorm(dim, dim, 3, make_norm) for _ in range(num_layers))
        self.reg_convs = nn.ModuleList(ConvNorm(dim, dim, 3, make_norm) for _ in range(num_layers))
        self.retina_cls = nn.Conv1d(dim, anchors_per_position * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv1d(dim, anchors_per_position * 2, 3, padding=1)
        for conv in [module for module in self.modules() if isinstance(module, nn.Conv1d)]:
            nn.init.normal_(conv.weight, std=INITIAL_DEVIATION)
        assert self.retina_cls.bias is not None
        assert self.retina_reg.bias is not None
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - prior_probability) / prior_probability))
        nn.init.zeros_(self.retina_reg.bias)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Levels (B, C, T_l) to logits (B, A, K) and codes (B, A, 2): of every level, position by position, its
        anchors."""
        logits, codes = [], []
        for level in levels:
            classes = borders = level
            for conv in self.cls_convs:
                classes = F.relu(conv(classes))
            for conv in self.reg_convs:
                borders = F.relu(conv(borders))
            logits.append(_by_anchor(self.retina_cls(classes), self.num_classes))
            codes.append(_by_anchor(self.retina_reg(borders), 2))
        return torch.cat(logits, dim=1), torch.cat(codes, dim=1)


def _by_anchor(level: Tensor, width: int) -> Tensor:
    """(B, anchors * width, T) to (B, T * anchors, width)."""
    return level.transpose(1, 2).reshape(len(level), -1, width)
