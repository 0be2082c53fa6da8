"""Scalable-granularity perception: a block of convolutions in place of attention (TriDet: Shi et al., 2023, 3.2)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.drop_path import AffineDropPath
from actloc.layers.masked_conv import PointwiseConv1d, depthwise
from actloc.layers.norms import ChannelNorm


class SGPBlock(nn.Module):
    """Two depthwise convolutions gated by a third, and every step gated by the mean of all; then an MLP.

    The mean and the group norm are over all steps, padded ones too, and convolutions see what padded steps hold.
    With `has_relu` the two convolutions pass a ReLU before they are gated, as in DyFADet. `stride` above 1 shortens the
    sequence: by the maximum, or by the mean and a full convolution. Convolutions start with a deviation of `conv_std`.
    """

    def __init__(
        self,
        dim: int,
        *,
        window: int,
        wide_window: int,
        mlp_dim: int,
        groups: int,
        stride: int,
        downsampling: Literal["max", "average"],
        drop_path: float,
        conv_std: float,
        has_relu: bool,
    ) -> None:
        super().__init__()
        self.has_relu = has_relu
        self.ln = ChannelNorm(dim)
        self.gn = nn.GroupNorm(groups, dim)
        self.psi, self.convw = (nn.Conv1d(dim, dim, window, padding=window // 2, groups=dim) for _ in range(2))
        self.fc, self.global_fc = (nn.Conv1d(dim, dim, 1, groups=dim) for _ in range(2))
        self.convkw = nn.Conv1d(dim, dim, wide_window, padding=wide_window // 2, groups=dim)
        for conv in (self.psi, self.fc, self.convw, self.convkw, self.global_fc):
            nn.init.normal_(conv.weight, 0, conv_std)
            assert conv.bias is not None, "Conv1d has a bias by default"
            nn.init.zeros_(conv.bias)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 and downsampling == "max":
            self.downsample = nn.MaxPool1d(stride + 1, stride, (stride + 1) // 2)
        elif stride > 1:
            self.downsample = nn.Sequential(nn.AvgPool1d(stride), PointwiseConv1d(dim, dim))
        self.mlp = nn.Sequential(PointwiseConv1d(dim, mlp_dim), nn.GELU(), PointwiseConv1d(mlp_dim, dim))
        self.drop_path_out, self.drop_path_mlp = (
            AffineDropPath(dim, drop_path) if drop_path > 0 else nn.Identity() for _ in range(2)
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T / stride); `mask` (B, 1, T / stride) is true on real steps of the output.

        Only the shortcut is masked: padded steps of the output are not zero.
        """
        features = self.downsample(features)
        normed = self.ln(features)
        of_all = F.relu(depthwise(self.global_fc, normed.mean(dim=2, keepdim=True)))
        mixed = depthwise(self.convw, normed) + depthwise(self.convkw, normed)
        if self.has_relu:
            mixed = F.relu(mixed)
        branch = depthwise(self.fc, normed) * of_all + mixed * depthwise(self.psi, normed) + normed
        hidden = features * mask + self.drop_path_out(branch)
        return hidden + self.drop_path_mlp(self.mlp(self.gn(hidden)))
