"""DualFormer's blocks: attention to windows or to a pyramid, and positions (Liang et al. 2022, arXiv 2112.04674).

Tokens are on grids (S, T, H, W, C) of time, height and width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.layers.drop_path import DropPath
from actloc.layers.pyramid_kernels import SEEN
from actloc.structures import Axes


class PatchEmbedding(nn.Module):
    """Patches of pixels, or of the tokens of the stage before, become tokens."""

    def __init__(self, before: int, dim: int, patch: Axes) -> None:
        super().__init__()
        self.proj = nn.Conv3d(before, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, c) to (S, T', H', W', C), divided by the patch."""
        return self.norm(self.proj(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1))


class Block(nn.Module):
    """Attention and an MLP, each with a shortcut; training steps may skip either."""

    def __init__(self, attention: nn.Module, mlp: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.attn, self.mlp = attention, mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class Blocks(nn.ModuleList):
    """The blocks of a stage; after the first one, the tokens learn where they are."""

    def forward(self, x: Tensor, positions: nn.Module) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        for number, block in enumerate(self):
            x = block(x)
            if number == 0:
                x = positions(x)
        return x


class LocalAttention(nn.Module):
    """After a norm, the tokens of each window attend to each other; windows neither overlap nor move."""

    def __init__(self, dim: int, num_heads: int, window: Axes) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to the same shape; the window divides T, H and W."""
        counts = [length // one for length, one in zip(x.shape[1:4], self.window, strict=True)]
        parts = [number for pair in zip(counts, self.window, strict=True) for number in pair]
        mixed = self.qkv(self.norm1(x)).reshape(len(x), *parts, 3, self.num_heads, -1)
        # (S, t, a, h, b, w, c, 3, heads, dim) to (3, S, t, h, w, heads, a, b, c, dim)
        mixed = mixed.permute(7, 0, 1, 3, 5, 8, 2, 4, 6, 9).reshape(
            3, -1, self.num_heads, math.prod(self.window), mixed.shape[-1]
        )
        attended = F.scaled_dot_product_attention(*mixed.unbind())  # (windows, heads, N, dim)
        attended = attended.reshape(len(x), *counts, self.num_heads, *self.window, -1)
        return self.proj(attended.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(x.shape))


class PyramidAttention(nn.Module):
    """After a norm, all tokens attend to a pyramid of pooled ones: many fine, and a few coarse of wide surroundings.

    Without kernels, all tokens attend to all tokens. The weights are named as in the published files, but for the
    first norm, which belongs to the block there.
    """

    def __init__(self, dim: int, num_heads: int, fine: Axes | None, coarse: Axes | None) -> None:
        """`fine` and `coarse` are the tokens along each axis that become one: see `pyramid_kernels.py`."""
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr = self.lr = None
        if fine is not None:
            self.sr = nn.Conv3d(dim, dim, fine, stride=fine, groups=dim)
            self.norm = nn.LayerNorm(dim)
        if fine is not None and coarse is not None:
            self.lr = nn.Sequential(
                nn.Conv3d(dim, dim, SEEN, stride=SEEN, groups=dim),
                nn.BatchNorm3d(dim),
                nn.ReLU(),
                nn.Conv3d(dim, dim, coarse, stride=coarse, groups=dim),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        tokens = self.norm1(x)
        queries = self.q(tokens).flatten(1, 3).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        mixed = self.kv(self._pyramid(tokens)).unflatten(2, (2, self.num_heads, -1))
        keys, values = mixed.permute(2, 0, 3, 1, 4)  # each (S, heads, M, dim)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(attended.transpose(1, 2).reshape(x.shape))

    def _pyramid(self, tokens: Tensor) -> Tensor:
        """The tokens (S, M, C) that are attended to, of (S, T, H, W, C)."""
        if self.sr is None:
            return tokens.flatten(1, 3)
        maps = tokens.permute(0, 4, 1, 2, 3)
        levels = [self.sr(maps)] if self.lr is None else [self.sr(maps), self.lr(maps)]
        return self.norm(torch.cat([level.flatten(2) for level in levels], 2).mT)


class PositionGenerator(nn.Module):
    """Adds to each token what a convolution finds around it, which depends on where it is: outside there are zeros.

    (Conditional positions: Chu et al. 2021, arXiv 2102.10882.)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv3d(dim, dim, 3, padding=1, groups=dim))

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        return x + self.proj(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
