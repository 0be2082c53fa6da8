"""ActionFormer's backbone: one sequence becomes a pyramid of sequences, each level shorter than the one before."""

import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.attention import TransformerBlock
from actloc.layers.masked_conv import MaskedConv1d
from actloc.layers.norms import ChannelNorm


def level_masks(mask: Tensor, num_levels: int, scale_factor: int) -> list[Tensor]:
    """The mask (B, 1, T) of every level: level l keeps every `scale_factor`^l-th step, beginning with the first."""
    return [mask[..., :: scale_factor**level] for level in range(num_levels)]


class TransformerPyramid(nn.Module):
    """Convolutional embedding, transformer blocks at full length (the stem), then one shortening block per level."""

    def __init__(
        self,
        in_channels: int,
        dim: int,
        num_heads: int,
        *,
        windows: list[int],
        num_embedding_convs: int,
        embedding_kernel: int,
        num_stem_blocks: int,
        scale_factor: int,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.embd = nn.ModuleList(
            MaskedConv1d(in_channels if i == 0 else dim, dim, embedding_kernel, bias=False)
            for i in range(num_embedding_convs)
        )
        self.embd_norm = nn.ModuleList(ChannelNorm(dim) for _ in range(num_embedding_convs))

        def block(window: int, stride: int) -> TransformerBlock:
            return TransformerBlock(dim, num_heads, window=window, stride=stride, dropout=dropout, drop_path=drop_path)

        self.stem = nn.ModuleList(block(windows[0], 1) for _ in range(num_stem_blocks))
        self.branch = nn.ModuleList(block(window, scale_factor) for window in windows[1:])

    def forward(self, features: Tensor, masks: list[Tensor], positions: Tensor | None) -> list[Tensor]:
        """(B, C, T) features to levels (B, C', T_l), finest first; `masks` (B, 1, T_l) are true on real steps.

        `positions` (B, C', T) are added after the embedding, where given. Padded steps of the levels are zero.
        """
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            features = F.relu(norm(conv(features, masks[0])).contiguous())  # a convolution's order, as in the heads
        if positions is not None:
            features = features + positions * masks[0]
        for block in self.stem:
            features = block(features, masks[0])
        levels = [features]
        for block, mask in zip(self.branch, masks[1:], strict=True):
            levels.append(block(levels[-1], mask))
        return levels


class NormNeck(nn.Module):
    """The plain neck: a norm for each level and nothing between them."""

    def __init__(self, dim: int, num_levels: int) -> None:
        super().__init__()
        self.fpn_norms = nn.ModuleList(ChannelNorm(dim) for _ in range(num_levels))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, T_l) to the same shapes; padded steps come out as the bias of the norm."""
        return [norm(level) for norm, level in zip(self.fpn_norms, levels, strict=True)]
