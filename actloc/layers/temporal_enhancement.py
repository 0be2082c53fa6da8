"""What ETAD (Liu et al., 2022, arXiv 2205.07134) does with features before it looks for segments in them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupedConvNorm(nn.Module):
    """A convolution in groups of channels and of odd kernel, a norm over groups of channels and all steps, a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, groups: int, norm_groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.GroupNorm(norm_groups, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T)."""
        return F.relu(self.norm(self.conv(features)))


class TemporalEnhancement(nn.Module):
    """Two LSTMs, one through time and one against it, beside a direct path."""

    def __init__(self, in_channels: int, dim: int, groups: int, norm_groups: int) -> None:
        super().__init__()
        self.embedding = GroupedConvNorm(in_channels, dim, 3, groups, norm_groups)
        self.forward_lstm = nn.LSTM(dim, dim, batch_first=True)
        self.backward_lstm = nn.LSTM(dim, dim, batch_first=True)
        self.forward_branch = GroupedConvNorm(dim, dim // 2, 3, groups, norm_groups)
        self.direct_branch = GroupedConvNorm(dim, dim, 3, groups, norm_groups)
        self.backward_branch = GroupedConvNorm(dim, dim // 2, 3, groups, norm_groups)
        self.joined = GroupedConvNorm(2 * dim, dim, 1, groups, norm_groups)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, T) to (B, dim, T)."""
        embedded = self.embedding(features)
        steps = embedded.transpose(1, 2)  # (B, T, dim)
        past = self.forward_lstm(steps)[0]
        future = self.backward_lstm(steps.flip(1))[0].flip(1)
        branches = (
            self.forward_branch(past.transpose(1, 2)),
            self.direct_branch(embedded),
            self.backward_branch(future.transpose(1, 2)),
        )
        joined: Tensor = self.joined(torch.cat(branches, dim=1))
        return joined
