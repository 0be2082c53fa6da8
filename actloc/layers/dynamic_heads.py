"""DyFADet's heads: dynamic feature aggregation within a level and between neighbouring ones (Yang et al., 2024).

Weights of the aggregation follow from the features: a gate opens or closes each channel and step.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.heads import LevelScale
from actloc.layers.masked_conv import MaskedConv1d, depthwise
from actloc.layers.norms import ChannelNorm

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "gelu": F.gelu, "leaky_relu": F.leaky_relu}


def rectified_tanh(values: Tensor, shift: float) -> Tensor:
    """A gate (...) of values (...): 0 below 0, then rising towards 1 as tanh does around `shift`."""
    height = math.tanh(shift)
    return F.relu((values - shift).tanh() + height) / (1 + height)


class ConstantWeight(nn.Module):
    """The official code's kernel of `shifted`, which never learns; here it is only stored."""

    weight: Tensor

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(kernel).repeat(channels, 1)[:, None])


def shifted(features: Tensor, kernel: int) -> Tensor:
    """(B, C, T) to (B, C * kernel, T): channel c * kernel + i is channel c, i - kernel // 2 steps later; else zero."""
    windows = F.pad(features, (kernel // 2, kernel // 2)).unfold(2, kernel, 1)  # (B, C, T, kernel)
    return windows.transpose(2, 3).flatten(1, 2)


class _Gate(nn.Module):
    """A convolution whose output gates: one gate for each channel, or one for all of them."""

    def __init__(self, in_channels: int, num_gates: int, kernel: int, shift: float, *, groups: int = 1) -> None:
        super().__init__()
        self.gate_conv = nn.Conv1d(in_channels, num_gates, kernel, padding=kernel // 2, groups=groups)
        self.shift = shift

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to gates (B, G, T), 0 on padded steps."""
        conv = self.gate_conv
        values = depthwise(conv, features) if conv.groups > 1 else conv(features)
        return rectified_tanh(values, self.shift) * mask


class _GatedConv(nn.Module):
    """A convolution with a norm, gated at each step as a whole."""

    def __init__(self, dim: int, kernel: int, shift: float) -> None:
        super().__init__()
        conv = nn.Conv1d(dim * kernel, dim, kernel, padding=kernel // 2)
        self.convs = nn.ModuleList([conv, ChannelNorm(dim)])
        self.gate = _Gate(dim * kernel, 1, kernel, shift)

    def forward(self, shifts: Tensor, mask: Tensor) -> Tensor:
        """Shifted features (B, C * kernel, T) to (B, C, T), 0 on padded steps."""
        conv, norm = self.convs
        return norm(conv(shifts)) * mask * self.gate(shifts, mask)


class DynamicAggregation(nn.Module):
    """Each step's neighbours, weighted by numbers that follow from the features, become its new features.

    `form` is what weighs them: `gate`, themselves times a gate for each channel, so that they are squared, as in the
    official code; or `conv`, a gated convolution of them.
    """

    def __init__(self, dim: int, out_dim: int, kernel: int, shift: float, form: Literal["gate", "conv"]) -> None:
        super().__init__()
        self.kernel = kernel
        self.is_gate = form == "gate"
        self.shift_conv = ConstantWeight(dim, kernel)
        self.conv = nn.Conv1d(dim * kernel, out_dim, 1)
        self.kernel_conv: nn.Module = (
            _Gate(dim, dim, kernel, shift, groups=dim) if self.is_gate else _GatedConv(dim, kernel, shift)
        )
        self.norm = ChannelNorm(out_dim)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T), 0 where `mask` (B, 1, T) is false."""
        shifts = shifted(features, self.kernel)
        weights = self.kernel_conv(features if self.is_gate else shifts, mask).repeat_interleave(self.kernel, dim=1)
        if self.is_gate:
            weights = shifts * weights
        return self.norm(self.conv(shifts * weights)) * mask


class DynamicScaleLayer(nn.Module):
    """Adds to each level what its neighbours make of theirs, then aggregates each; all levels share the weights.

    Neighbours start with a weight of 0. The norm's weights are in official files, where nothing uses them.
    """

    def __init__(self, dim: int, out_dim: int, kernel: int, shift: float) -> None:
        super().__init__()
        self.scale_weight = nn.Parameter(torch.zeros(1))
        self.output_weight = nn.Parameter(torch.ones(1))
        self.depth_module = DynamicAggregation(dim, out_dim, kernel, shift, "conv")
        self.dynamic_convs = nn.ModuleList(DynamicAggregation(dim, dim, kernel, shift, "gate") for _ in range(2))
        self.norm = nn.Module()
        self.norm.register_buffer("weight", torch.ones(1, out_dim, 1))
        self.norm.register_buffer("bias", torch.zeros(1, out_dim, 1))

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, T_l), finest first, to (B, C', T_l); `masks` (B, 1, T_l) are true on real steps."""
        from_finer, from_coarser = self.dynamic_convs
        finer = [from_finer(*pair) for pair in zip(levels[:-1], masks[:-1], strict=True)]
        coarser = [from_coarser(*pair) for pair in zip(levels[1:], masks[1:], strict=True)]
        aggregated = []
        for number, (level, mask) in enumerate(zip(levels, masks, strict=True)):
            length = level.shape[2]
            neighbours = [] if number == 0 else [_nearest(finer[number - 1], length)]
            neighbours += [] if number == len(levels) - 1 else [_nearest(coarser[number], length)]
            own = self.output_weight * level
            mixed = own + self.scale_weight * sum(neighbours[1:], neighbours[0]) if neighbours else own
            aggregated.append(self.depth_module(mixed, mask))
        return aggregated


def _nearest(features: Tensor, length: int) -> Tensor:
    """(B, C, T) to (B, C, length): every n-th step, or every step n times."""
    if features.shape[2] > length:
        return features[..., :: features.shape[2] // length]
    return features.repeat_interleave(length // features.shape[2], dim=2)


class _DynamicTower(nn.Module):
    """Dynamic scale layers with activations, common to both heads."""

    def __init__(
        self, dim: int, hidden_dim: int, *, num_layers: int, kernel: int, shift: float, activation: str
    ) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[activation]
        self.last_dim = hidden_dim if num_layers > 1 else dim
        self.head = nn.ModuleList(
            DynamicScaleLayer(hidden_dim if number else dim, hidden_dim, kernel, shift)
            for number in range(num_layers - 1)
        )

    def _tower(self, levels: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        for layer in self.head:
            levels = [self.activate(level) for level in layer(levels, masks)]
        return levels


class DynamicClassificationHead(_DynamicTower):
    """One logit per class and step; there is no class for background."""

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        num_classes: int,
        *,
        num_layers: int,
        kernel: int,
        shift: float,
        activation: str,
        prior_probability: float,
    ) -> None:
        super().__init__(dim, hidden_dim, num_layers=num_layers, kernel=kernel, shift=shift, activation=activation)
        self.cls_head = MaskedConv1d(self.last_dim, num_classes, kernel)
        self.start_at(prior_probability, range(num_classes))

    @torch.no_grad()
    def start_at(self, probability: float, classes: Sequence[int]) -> None:
        """Sets the biases so that these classes score about `probability` before training."""
        bias = self.cls_head.conv.bias
        assert bias is not None, "Conv1d has a bias by default"
        bias[list(classes)] = -math.log((1 - probability) / probability)

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> Tensor:
        """Levels (B, C, T_l) to logits (B, P, K), the levels in a row; `masks` (B, 1, T_l) are true on real steps."""
        logits = [self.cls_head(*pair) for pair in zip(self._tower(levels, masks), masks, strict=True)]
        return torch.cat(logits, dim=2).transpose(1, 2)


class DynamicRegressionHead(_DynamicTower):
    """Distances from a step to the start and to the end of its action, in strides of its level."""

    def __init__(
        self, dim: int, hidden_dim: int, num_levels: int, *, num_layers: int, kernel: int, shift: float
    ) -> None:
        super().__init__(dim, hidden_dim, num_layers=num_layers, kernel=kernel, shift=shift, activation="relu")
        self.scale = nn.ModuleList(LevelScale() for _ in range(num_levels))
        self.offset_head = MaskedConv1d(self.last_dim, 2, kernel)

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> Tensor:
        """Levels (B, C, T_l) to distances (B, P, 2), never negative; masks as in `DynamicClassificationHead`."""
        together = zip(self._tower(levels, masks), masks, self.scale, strict=True)
        distances = [F.relu(self.offset_head(level, mask) * scale(level.shape[2])) for level, mask, scale in together]
        return torch.cat(distances, dim=2).transpose(1, 2)
