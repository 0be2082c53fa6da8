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
        self.gap_steps = kernel // 2
        self.last_dim = hidden if num_layers > 1 else dim
        self.head = nn.ModuleList(
            MaskedConv1d(hidden if number else dim, hidden, kernel, bias=not has_norm)
            for number in range(num_layers - 1)
        )
        self.norm = nn.ModuleList(channel_norm(hidden, has_norm) for _ in range(num_layers - 1))

    def _joined(self, levels: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels (B, C, T_l) joined, (B, C, P), their joined mask (B, 1, P), and what is no gap, (1, 1, P)."""
        joined, mask = join_levels(levels, self.gap_steps), join_levels(masks, self.gap_steps)
        return joined, mask, join_levels([torch.ones_like(level_mask[:1]) for level_mask in masks], self.gap_steps)

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

    def forward(self, levels: list[Tensor], masks: list[Tensor]) -> Tensor:
        """Levels (B, C, T_l) to logits (B, P, K), the levels in a row; zero where `masks` (B, 1, T_l) are false."""
        joined, mask, inside = self._joined(levels, masks)
        logits = self.cls_head(self._tower(joined, mask, inside), mask)
        return drop_gaps(logits, [level.shape[2] for level in levels], self.gap_steps).transpose(1, 2)


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
        self.scale = nn.ModuleList(LevelScale() for _ in range(num_levels))
        self.offset_head = MaskedConv1d(self.last_dim, num_outputs, kernel)

    def forward(self, levels: list[Tensor], masks: list[Tensor], wanted: Tensor | None = None) -> Tensor:
        """Levels (B, C, T_l) to (B, P, `num_outputs`), never negative; masks as in `ClassificationHead`.

        With `wanted` (B, P) only those of the P steps are computed where it is true; the output is zero elsewhere.
        """
        lengths = [level.shape[2] for level in levels]
        scales = torch.cat([scale(length) for scale, length in zip(self.scale, lengths, strict=True)])
        joined, mask, inside = self._joined(levels, masks)
        if wanted is None:
            distances = self.offset_head(self._tower(joined, mask, inside), mask)
            return F.relu(drop_gaps(distances, lengths, self.gap_steps) * scales).transpose(1, 2)
        # one sequence of all videos, each with a gap after it, without the steps that no wanted one depends on
        is_wanted = join_levels([one[:, None] for one in torch.split(wanted, lengths, dim=1)], self.gap_steps)
        reach = (len(self.head) + 1) * self.gap_steps
        is_near = F.max_pool1d(is_wanted.reshape(1, -1).float(), 2 * reach + 1, 1, reach)[0] > 0
        is_near[0] = True  # if none is wanted, the weights have gradients of zero all the same
        rows = is_near.nonzero()[:, 0]
        few = joined.transpose(1, 2).flatten(0, 1).index_select(0, rows).T[None]  # (1, C, R)
        mask, inside = (one.expand_as(is_wanted).reshape(1, 1, -1)[..., rows] for one in (mask, inside))
        distances = self.offset_head(self._tower(few, mask, inside), mask)[0].T[is_wanted.flatten()[rows]]
        videos, steps = wanted.nonzero(as_tuple=True)
        found = F.relu(distances * scales[steps, None])
        return found.new_zeros(*wanted.shape, found.shape[1]).index_put((videos, steps), found)
