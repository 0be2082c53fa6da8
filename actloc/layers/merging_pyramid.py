"""TALLFormer's pyramid: pairs of positions are merged, and each level's positions look at their neighbours."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.positions import PositionTable

MLP_RATIO = 4  # hidden channels of a layer's MLP for each of its channels


class MergingPyramid(nn.Module):
    """Positions are added to the first level; each further level has half the steps of the one before.

    `windows` are the steps that attention sees in each further level, the query's own in their middle.
    """

    def __init__(self, dim: int, *, max_length: int, windows: Sequence[int], num_heads: int, dropout: float) -> None:
        super().__init__()
        self.positions = PositionTable(max_length, dim)
        self.dropout = nn.Dropout(dropout)
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * dim, dim, bias=False), nn.LayerNorm(dim)) for _ in windows
        )
        self.trans_layers = nn.ModuleList(BandedLayer(dim, num_heads, window // 2, dropout) for window in windows)

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, C, T) to levels (B, C, T_l), finest first; T_l is half of the level before, rounded up."""
        length = features.shape[2]
        level = self.dropout(features + self.positions([length], length)).transpose(1, 2)
        levels = [level]
        for reduction, layer in zip(self.reductions, self.trans_layers, strict=True):
            pairs = F.pad(level, (0, 0, 0, level.shape[1] % 2)).reshape(len(level), -1, 2 * level.shape[2])
            level = layer(reduction(pairs))
            levels.append(level)
        return [level.transpose(1, 2) for level in levels]


class BandedLayer(nn.Module):
    """A post-norm transformer layer in which a step attends to at most `reach` steps on each side."""

    def __init__(self, dim: int, num_heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = BandedAttention(dim, num_heads, reach, dropout)
        self.linear1 = nn.Linear(dim, MLP_RATIO * dim)
        self.linear2 = nn.Linear(MLP_RATIO * dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, level: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        level = self.norm1(level + self.dropout(self.self_attn(level)))
        hidden = self.dropout(F.relu(self.linear1(level)))
        normed: Tensor = self.norm2(level + self.dropout(self.linear2(hidden)))
        return normed


class BandedAttention(nn.Module):
    """Multi-head attention of step i to the steps j with |i - j| <= `reach`; there is no padding."""

    def __init__(self, dim: int, num_heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.reach = reach
        self.in_proj = nn.Linear(dim, 3 * dim)
        self.out_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.in_proj.weight)  # as PyTorch's own attention, which the official one is
        for linear in (self.in_proj, self.out_proj):
            nn.init.zeros_(linear.bias)

    def forward(self, level: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        mixed = self.in_proj(level).reshape(*level.shape[:2], 3, self.num_heads, -1)
        queries, keys, values = mixed.permute(2, 0, 3, 1, 4)  # (B, heads, T, dim)
        length = level.shape[1]
        is_near = torch.ones(length, length, dtype=torch.bool, device=level.device).tril(self.reach).triu(-self.reach)
        chance = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, is_near, dropout_p=chance)
        mixed_values: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return mixed_values
