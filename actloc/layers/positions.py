"""Sinusoid position embedding (Vaswani et al., 2017) with ActionFormer's scale and stretching."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoid_table(length_steps: int, dim: int) -> Tensor:
    """(1, C, T) float32: channel c of step p is the sine (even c) or cosine (odd c) of p / 10000^(2 (c // 2) / C)."""
    channels = torch.arange(dim)
    wavelengths = 10000 ** (2 * (channels // 2).double() / dim)
    angles = torch.arange(length_steps, dtype=torch.float64) / wavelengths[:, None]
    table = torch.where(channels[:, None] % 2 == 0, angles.sin(), angles.cos())
    return table.float()[None]


class PositionTable(nn.Module):
    """The table for `max_steps` steps, divided by sqrt(C); stretched for longer videos."""

    table: Tensor

    def __init__(self, max_steps: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoid_table(max_steps, dim) / dim**0.5, persistent=False)

    def forward(self, lengths_steps: list[int], num_steps: int) -> Tensor:
        """(B, C, T) for T = `num_steps`: the table of video b spans `lengths_steps[b]` steps and is zero beyond."""
        spans = {length: self._spanning(length, num_steps) for length in set(lengths_steps)}
        return torch.cat([spans[length] for length in lengths_steps])

    def _spanning(self, length_steps: int, num_steps: int) -> Tensor:
        table = self.table
        if length_steps > table.shape[2]:
            table = F.interpolate(table, length_steps, mode="linear", align_corners=False)
        table = table[..., :num_steps]
        return F.pad(table, (0, num_steps - table.shape[2]))  # steps beyond the table are padding
