"""ActionFormer's backbone and necks: one sequence becomes a pyramid, each level shorter than the one before."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.masked_conv import MaskedConv1d
from actloc.layers.norms import channel_norm


def level_masks(mask: Tensor, num_levels: int, scale_factor: int) -> list[Tensor]:
    """The mask (B, 1, T) of every level: level l keeps every `scale_factor`^l-th step, beginning with the first."""
    return [mask[..., :: scale_factor**level] for level in range(num_levels)]


class FeaturePyramid(nn.Module):
    """Convolutional embedding, blocks at full length (the stem), then one shortening block per level (the branch).

    `make_block` builds a block for a window and a stride. If the features are several kinds side by side, `projection`
    lists (channels, projected channels) of each kind, which gets its own convolution.
    Without `embedding_norm` the convolutions of the embedding have biases.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        make_block: Callable[[int, int], nn.Module],
        *,
        windows: list[int],
        projection: Sequence[tuple[int, int]] = (),
        num_embedding_convs: int,
        embedding_kernel: int,
        embedding_norm: bool = True,
        num_stem_blocks: int,
        scale_factor: int,
    ) -> None:
        super().__init__()
        self.part_channels = [channels for channels, _ in projection]
        self.proj = nn.ModuleList(MaskedConv1d(channels, projected, 1) for channels, projected in projection)
        embedded = sum(projected for _, projected in projection) or in_channels
        self.embd = nn.ModuleList(
            MaskedConv1d(embedded if i == 0 else dim, dim, embedding_kernel, bias=not embedding_norm)
            for i in range(num_embedding_convs)
        )
        self.embd_norm = nn.ModuleList(channel_norm(dim, embedding_norm) for _ in range(num_embedding_convs))
        self.stem = nn.ModuleList(make_block(windows[0], 1) for _ in range(num_stem_blocks))
        self.branch = nn.ModuleList(make_block(window, scale_factor) for window in windows[1:])

    def forward(self, features: Tensor, masks: list[Tensor], positions: Tensor | None = None) -> list[Tensor]:
        """(B, C, T) features to levels (B, C', T_l), finest first; `masks` (B, 1, T_l) are true on real steps.

        `positions` (B, C', T), if given, are added after the embedding. Padded steps of all levels are zero, except in
        the first level after a stem of convolution blocks, whose shortcuts pass the unmasked embedding.
        """
        if self.part_channels:
            parts = zip(self.proj, torch.split(features, self.part_channels, dim=1), strict=True)
            features = torch.cat([project(part, masks[0]) for project, part in parts], dim=1)
        for conv, norm in zip(self.embd, self.embd_norm, strict=True):
            features = F.relu(
                norm(conv(features, masks[0])).contiguous()
            )  # a convolution's memory order, as in the heads
        if positions is not None:
            features = features + positions * masks[0]
        for block in self.stem:
            features = block(features, masks[0])
        levels = [features]
        for block, mask in zip(self.branch, masks[1:], strict=True):
            levels.append(block(levels[-1], mask))
        return levels


class ConvBlock(nn.Module):
    """Two convolutions of kernel 3 with a shortcut; if `stride` is above 1 it shortens the sequence."""

    EXPANSION = 2  # the first convolution multiplies the channels by this

    def __init__(self, dim: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = MaskedConv1d(dim, self.EXPANSION * dim, 3, stride=stride)
        self.conv2 = MaskedConv1d(self.EXPANSION * dim, dim, 3)
        self.downsample = MaskedConv1d(dim, dim, 1, stride=stride) if stride > 1 else None

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T / stride); `mask` (B, 1, T / stride) is true on real steps of the output."""
        shortcut = features if self.downsample is None else self.downsample(features, mask)
        return F.relu(self.conv2(F.relu(self.conv1(features, mask)), mask) + shortcut)


def build_neck(
    kind: Literal["identity", "fpn"], dim: int, num_levels: int, scale_factor: int, has_norm: bool
) -> nn.Module:
    """ActionFormer's neck of this kind: `NormNeck` with a norm of its own for each level, or `TopDownNeck`."""
    if kind == "fpn":
        return TopDownNeck(dim, num_levels, scale_factor, has_norm=has_norm)
    return NormNeck(channel_norm(dim, has_norm) for _ in range(num_levels))


class NormNeck(nn.Module):
    """The plain neck: a norm for each level, which may be shared, without connections between levels."""

    def __init__(self, norms: Iterable[nn.Module]) -> None:
        super().__init__()
        self.fpn_norms = nn.ModuleList(norms)

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, T_l) to the same shapes; padded steps become the bias of the norm."""
        return [norm(level) for norm, level in zip(self.fpn_norms, levels, strict=True)]


class TopDownNeck(nn.Module):
    """A feature pyramid network (Lin et al., 2017): coarse levels are added to the finer ones, then convolved.

    Without norms the convolutions have biases.
    """

    def __init__(self, dim: int, num_levels: int, scale_factor: int, *, has_norm: bool = True) -> None:
        super().__init__()
        self.scale_factor = scale_factor
        levels = range(num_levels)
        self.lateral_convs = nn.ModuleList(MaskedConv1d(dim, dim, 1, bias=not has_norm) for _ in levels)
        self.fpn_convs = nn.ModuleList(MaskedConv1d(dim, dim, 3, groups=dim, bias=not has_norm) for _ in levels)
        self.fpn_norms = nn.ModuleList(channel_norm(dim, has_norm) for _ in levels)

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, T_l) to the same shapes; `masks` (B, 1, T_l) are true on real steps.

        What coarse levels add to finer ones is not masked; the output is masked before its norm.
        """
        merged = [lateral(level, mask) for lateral, level, mask in zip(self.lateral_convs, levels, masks, strict=True)]
        for number in reversed(range(len(merged) - 1)):
            merged[number] = merged[number] + merged[number + 1].repeat_interleave(self.scale_factor, dim=2)
        return [
            norm(conv(level, mask))
            for conv, norm, level, mask in zip(self.fpn_convs, self.fpn_norms, merged, masks, strict=True)
        ]
