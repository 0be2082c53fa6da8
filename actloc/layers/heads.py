"""The heads that every level of a pyramid shares: class scores and distances to the ends of an action.

A head sees all levels as one sequence with zeros between them, so each convolution runs once and not once per level.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.masked_conv import MaskedConv1d
from actloc.layers.norms import channel_norm


def join_levels(levels: list[Tensor], gap_steps: int) -> Tensor:
    """Levels (B, C, T_l) to (B, C, P): one after the other, each followed by `gap_steps` zeros."""
    return torch.cat([F.pad(level.transpose(1, 2), (0, 0, 0, gap_steps)) for level in levels], dim=1).transpose(1, 2)


def drop_gaps(joined: Tensor, lengths_steps: list[int], gap_steps: int) -> Tensor:
    """What `join_levels` joined, (B, C, P), without the zeros between the levels."""
    pieces = torch.split(joined, [length + gap_steps for length in lengths_steps], dim=2)
    return torch.cat([piece[..., :length] for piece, length in zip(pieces, lengths_steps, strict=True)], dim=2)


class _Tower(nn.Module):
    """Convolutions with norm and ReLU, common to both heads; without norms they have biases."""

    def __init__(self, dim: int, hidden_dim: int | None, *, num_layers: int, kernel: int, has_norm: bool) -> None:
        super().__init__()
        hidden = hidden_dim or dim
        self.kernel = kernel
        self.last_dim = hidden if num_layers > 1 else dim
        self.head = nn.ModuleList(
            MaskedConv1d(hidden if number else dim, hidden, kernel, bias=not has_norm)
            for number in range(num_layers - 1)
        )
        self.norm = nn.ModuleList(channel_norm(hidden, has_norm) for _ in range(num_layers - 1))

    def _tower(self, joined: Tensor, mask: Tensor, inside: Tensor) -> Tensor:
        for conv, norm in zip(self.head, self.norm, strict=True):
            normed = norm(conv(joined, mask)).contiguous()  # the next convolution's order; else ReLU's backward is slow
            joined = F.relu(normed) * inside  # each level ends in zeros, as if it were alone
        return joined


class ClassificationHead(_Tower):
    """One logit per class and step; there is no class for background."""

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        hidden_dim: int | None = None,
        num_layers: int,
        kernel: int,
        has_norm: bool = True,
        prior_probability: float,
    ) -> None:
        super().__init__(dim, hidden_dim, num_layers=num_layers, kernel=kernel, has_norm=has_norm)
        self.cls_head = MaskedConv1d(self.last_dim, num_classes, kernel)
        self.start_at(prior_probability, range(num_classes))

    @torch.no_grad()
    def start_at(self, probability: float, classes: Sequence[int]) -> None:
        """Sets the biases so that these classes score about `probability` before training."""
        bias = self.cls_head.conv.bias
        assert bias is not None, "the last convolution has a bias"
        bias[list(classes)] = -math.log((1 - probability) / probability)

    def forward(self, joined: Tensor, mask: Tensor, inside: Tensor) -> Tensor:
        """Joined levels (B, C, P) to logits (B, K, P), zero where `mask` is false.

        `mask` (B, 1, P) is true on real steps, `inside` (1, 1, P) everywhere but in the gaps between levels.
        """
        return self.cls_head(self._tower(joined, mask, inside), mask)


class LevelScale(nn.Module):
    """A learnable factor for the distances of one level."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, num_steps: int) -> Tensor:
        """The factor of every step, (T,)."""
        return self.scale.expand(num_steps)


class RegressionHead(_Tower):
    """Distances from a step to the start and to the end of its action, in strides of its level.

    TriDet's head gives more than these two numbers, of which distances are then made.
    """

    def __init__(
        self,
        dim: int,
        num_levels: int,
        *,
        hidden_dim: int | None = None,
        num_layers: int,
        kernel: int,
        has_norm: bool = True,
        num_outputs: int = 2,
    ) -> None:
        super().__init__(dim, hidden_dim, num_layers=num_layers, kernel=kernel, has_norm=has_norm)
        self.reach = num_layers * (kernel // 2)
        self.scale = nn.ModuleList(LevelScale() for _ in range(num_levels))
        self.offset_head = MaskedConv1d(self.last_dim, num_outputs, kernel)

    def forward(
        self, joined: Tensor, mask: Tensor, inside: Tensor, joined_lengths: list[int], wanted: Tensor | None = None
    ) -> Tensor:
        """Joined levels (B, C, P) to (B, `num_outputs`, P), never negative; masks as in `ClassificationHead`.

        `joined_lengths` are the steps of each level with its gap. With `wanted` (B, 1, P) only the steps are computed
        where it is true and those next to them that they depend on; the output means nothing elsewhere.
        """
        scales = torch.cat([level(length) for level, length in zip(self.scale, joined_lengths, strict=True)])
        if wanted is None:
            return F.relu(self.offset_head(self._tower(joined, mask, inside), mask) * scales)
        # one sequence of all videos, each with a gap after it; what is left out of it is not next to a wanted step
        steps = joined.transpose(1, 2).flatten(0, 1)  # (B P, C)
        is_near = F.max_pool1d(wanted.reshape(1, -1).float(), 2 * self.reach + 1, 1, self.reach)[0] > 0
        is_near[0] = True  # if none is wanted, the weights have gradients of zero all the same
        rows = is_near.nonzero()[:, 0]
        few = steps.index_select(0, rows).T[None]
        mask, inside = (one.expand_as(wanted).reshape(1, 1, -1)[..., rows] for one in (mask, inside))
        distances = self.offset_head(self._tower(few, mask, inside), mask) * scales.repeat(len(joined))[rows]
        found = distances.new_zeros(len(steps), distances.shape[1]).index_copy(0, rows, F.relu(distances)[0].T)
        return found.view(len(joined), -1, distances.shape[1]).transpose(1, 2)


def apply_heads(
    classification: ClassificationHead,
    regression: RegressionHead,
    levels: list[Tensor],
    masks: list[Tensor],
    wanted: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Levels (B, C, T_l) to logits (B, P, K) and distances (B, P, 2), the levels in a row without gaps.

    `masks` (B, 1, T_l) are true on real steps. Both heads have the same kernel. With `wanted` (B, P) the distances are
    computed only where it is true.
    """
    lengths, gap = [level.shape[2] for level in levels], classification.kernel // 2
    joined, *both_masks = _joined(levels, masks, gap)
    logits = classification(joined, *both_masks)
    if wanted is not None:
        wanted = join_levels([one[:, None] for one in wanted.split(lengths, dim=1)], gap)
    distances = regression(joined, *both_masks, [length + gap for length in lengths], wanted)
    return drop_gaps(logits, lengths, gap).transpose(1, 2), drop_gaps(distances, lengths, gap).transpose(1, 2)


def apply_class_heads(
    heads: Sequence[ClassificationHead], levels: list[Tensor], masks: list[Tensor]
) -> tuple[Tensor, ...]:
    """The logits (B, P, K) of each of several heads of the same kernel; arguments as for `apply_heads`."""
    lengths, gap = [level.shape[2] for level in levels], heads[0].kernel // 2
    joined = _joined(levels, masks, gap)
    return tuple(drop_gaps(head(*joined), lengths, gap).transpose(1, 2) for head in heads)


def _joined(levels: list[Tensor], masks: list[Tensor], gap: int) -> tuple[Tensor, Tensor, Tensor]:
    """The joined levels, and the two masks of `ClassificationHead`."""
    inside = join_levels([torch.ones_like(level_mask[:1]) for level_mask in masks], gap)
    return join_levels(levels, gap), join_levels(masks, gap), inside
