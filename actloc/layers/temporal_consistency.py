"""What TALLFormer does to features before its pyramid (Cheng and Bertasius, 2022, arXiv 2204.01680, section 3.3).

Features of short clips, made at different times, are shortened to a quarter and made consistent by attention.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.drop_path import DropPath

REDUCTION = 4  # feature steps that become one position
INITIAL_DEVIATION = 0.02  # of the tables, as in Swin, whose layers these are in one dimension


class TemporalReduction(nn.Module):
    """Two convolutions of stride 2 with a ReLU between them."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, dim, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, dim, T / 4), rounded up."""
        reduced: Tensor = self.conv2(F.relu(self.conv1(features)))
        return reduced


class TemporalConsistency(nn.Module):
    """Transformer layers in which every position attends to every other, at most `max_length` positions in all."""

    def __init__(
        self, dim: int, *, max_length: int, num_layers: int = 3, num_heads: int = 16, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        layers = nn.Sequential(*(_Layer(dim, num_heads, max_length, drop_path) for _ in range(num_layers)))
        self.encoder = nn.ModuleDict({"layers": layers})

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to the same shape."""
        consistent: Tensor = self.encoder["layers"](features.transpose(1, 2))
        return consistent.transpose(1, 2)


class _Layer(nn.Module):
    """Attention and an MLP, each after a norm and with a shortcut; in training each is left out now and then."""

    def __init__(self, dim: int, num_heads: int, max_length: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = RelativeAttention(dim, num_heads, max_length)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.drop_path = DropPath(drop_path)

    def forward(self, positions: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        positions = positions + self.drop_path(self.attn(self.norm1(positions)))
        return positions + self.drop_path(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(positions)))))


class RelativeAttention(nn.Module):
    """Global attention that learns for each head what each distance between query and key adds to a score."""

    def __init__(self, dim: int, num_heads: int, max_length: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.max_length = max_length
        self.relative_position_bias_table = nn.Parameter(torch.empty(2 * max_length - 1, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=INITIAL_DEVIATION)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, positions: Tensor) -> Tensor:
        """(B, T, C) to the same shape; T is at most `max_length`."""
        length = positions.shape[1]
        assert length <= self.max_length, f"{length} positions, and the table ends at {self.max_length}"
        numbers = torch.arange(length, device=positions.device)
        distances = numbers[:, None] - numbers + self.max_length - 1  # row i - j + max_length - 1 of the table
        bias = self.relative_position_bias_table[distances].permute(2, 0, 1)  # (heads, T, T)
        mixed = self.qkv(positions).reshape(*positions.shape[:2], 3, self.num_heads, -1)
        queries, keys, values = mixed.permute(2, 0, 3, 1, 4)  # (B, heads, T, dim)
        attended = F.scaled_dot_product_attention(queries, keys, values, bias.to(queries.dtype)[None])
        return self.proj(attended.transpose(1, 2).flatten(2))
