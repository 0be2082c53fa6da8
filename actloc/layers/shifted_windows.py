"""Windows of tokens that attend to each other, moved in every second block (Swin: Liu et al. 2021, arXiv 2103.14030).

Grids have three axes: time, height and width (Video Swin: Liu et al. 2022, arXiv 2106.13230).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from actloc.structures import Axes

_LAST = slice(-1, None)  # the windows at the end of an axis: only these have tokens of both of its ends
_MASKED = -100.0  # added to scores before the softmax, as in the paper's code


@dataclass(frozen=True)
class Windows:
    """W windows of N tokens that cover the grid of each of S clips; those that are masked alike follow each other."""

    grid: Axes
    """Tokens along each axis."""
    padding: Axes
    """Empty tokens after the end of each axis, which make whole windows."""
    tokens: int
    """N."""
    places: Tensor
    """(W * S * N,): where the tokens of the windows are in the padded grids (S * T * H * W)."""
    back: Tensor
    """(S * T * H * W,): where the tokens of the grids are in the windows."""
    offsets: Tensor
    """(N * N,): numbers of the offset between each two tokens of a window, for their bias."""
    masks: tuple[tuple[int, Tensor | None], ...]
    """Numbers of windows with what is added to the scores (N, N) of the tokens of each, or None."""

    @classmethod
    def over(cls, shape: torch.Size, largest: Axes, shift: Axes, offsets: Tensor) -> Self:
        """The windows over tokens of `shape` (S, T, H, W, C), moved by `shift`; `offsets` are those of `largest`.

        An axis with no more tokens than a window has one window of that many tokens, which is not moved.
        """
        grid: Axes = (shape[1], shape[2], shape[3])
        size = [min(one, most) for one, most in zip(grid, largest, strict=True)]
        moves = [0 if one <= most else move for one, most, move in zip(grid, largest, shift, strict=True)]
        padding = [-one % window for one, window in zip(grid, size, strict=True)]
        padded = [one + pad for one, pad in zip(grid, padding, strict=True)]
        counts = [one // window for one, window in zip(padded, size, strict=True)]
        tokens = size[0] * size[1] * size[2]

        def by_window(values: Tensor) -> Tensor:
            pairs = [number for pair in zip(counts, size, strict=True) for number in pair]
            return values.reshape(pairs).permute(0, 2, 4, 1, 3, 5).flatten(3)  # (windows along each axis, N)

        device = offsets.device
        length = padded[0] * padded[1] * padded[2]
        numbers = torch.arange(length, device=device).reshape(padded).roll([-move for move in moves], (0, 1, 2))
        numbers, regions = by_window(numbers), by_window(_regions(padded, size, moves, device))
        parts, masks = [], []
        for chosen in product(*[(slice(-1), _LAST) if move else (slice(None),) for move in moves]):
            parts.append(numbers[chosen].reshape(-1, tokens))
            region = regions[chosen].reshape(-1, tokens)[0]
            masks.append((len(parts[-1]), _MASKED * (region[:, None] != region) if _LAST in chosen else None))
        order = torch.cat(parts)  # (W, N)
        clips = torch.arange(shape[0], device=device)
        inverse = order.flatten().argsort().reshape(padded)[: grid[0], : grid[1], : grid[2]].flatten()
        window, token = inverse // tokens, inverse % tokens
        return cls(
            grid,
            (padding[0], padding[1], padding[2]),
            tokens,
            places=(clips[:, None] * length + order[:, None]).flatten(),
            back=((window * shape[0] + clips[:, None]) * tokens + token).flatten(),
            # Not the offsets of this window where it is smaller in height or width, but those that published weights
            # were trained with: the first N rows and columns of the largest window's.
            offsets=offsets[:tokens, :tokens].flatten(),
            masks=tuple(masks),
        )

    def divided(self, x: Tensor) -> Tensor:
        """The tokens (W * S, N, C) of the windows of the grids (S, T, H, W, C); those of the padding are zero."""
        if any(self.padding):
            time, height, width = self.padding
            x = F.pad(x, (0, 0, 0, width, 0, height, 0, time))
        return x.flatten(0, 3).index_select(0, self.places).reshape(-1, self.tokens, x.shape[4])

    def groups(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The values (..., W * S, heads, N, dim) of windows that are masked alike, with that mask (N, N) or None."""
        clips = values.shape[-4] // sum(number for number, _ in self.masks)
        parts = torch.split(values, [number * clips for number, _ in self.masks], -4)
        return zip(parts, (mask for _, mask in self.masks), strict=True)

    def joined(self, tokens: Tensor) -> Tensor:
        """The grids (S, T, H, W, C) of the tokens (W * S, N, C); the inverse of `divided`."""
        return tokens.flatten(0, 1).index_select(0, self.back).reshape(-1, *self.grid, tokens.shape[2])


def _regions(padded: list[int], size: list[int], moves: list[int], device: torch.device) -> Tensor:
    """A number for each place of the padded and moved grid; tokens of a window see each other if theirs are equal."""
    result = torch.zeros(1, dtype=torch.long, device=device)
    for length, window, move in zip(padded, size, moves, strict=True):
        place = torch.arange(length, device=device)
        region = (place >= length - window).long() + (place >= length - move) if move else torch.zeros_like(place)
        result = 3 * result[..., None] + region
    return result[0]


def window_offsets(size: Axes) -> Tensor:
    """Numbers (N, N) of the offsets in time, height and width between each two of a window's N tokens."""
    places = torch.cartesian_prod(*(torch.arange(one) for one in size))  # (N, 3)
    most = torch.tensor(size) - 1
    offsets = places[:, None] - places + most
    time, height, width = offsets.unbind(2)
    return (time * (2 * size[1] - 1) + height) * (2 * size[2] - 1) + width
