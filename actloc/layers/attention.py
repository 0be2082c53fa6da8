"""ActionFormer's transformer block: convolutional projections and attention within a window (Zhang et al., 2022)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.drop_path import AffineDropPath, NoDropPath
from actloc.layers.masked_conv import MaskedConv1d, PointwiseConv1d, depthwise
from actloc.layers.norms import ChannelNorm

BLOCK_STEPS = 32  # queries that share their keys: of 32, 64 and 128 the fastest for a window of 19
PADDED_KEY_BIAS = -1e4  # official: hides a key, and stays finite where a query sees only padding


def global_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Every step attends to every real step. Tensors are (B, T, heads, dim); `mask` (B, T) is true on real steps.

    The output of padded queries is finite but meaningless.
    """
    bias = _key_bias(mask, queries.dtype)[:, None, None, :]
    return F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), bias
    ).transpose(1, 2)


def local_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, reach: int, relative: Tensor | None = None
) -> Tensor:
    """Step i attends to the real steps j with |i - j| <= `reach`; shapes as in `global_attention`, any length.

    `relative` (heads, 2 reach + 1) is added to the scores, entry j - i + reach to that of query i and key j.
    Each block of queries is compared with its own keys and `reach` more on both sides; keys outside the band of a
    query are masked out exactly.
    """
    num_videos, num_steps, num_heads, head_dim = queries.shape
    block = BLOCK_STEPS * math.ceil(2 * reach / BLOCK_STEPS)
    num_blocks = math.ceil(num_steps / block)
    queries = F.pad(queries, (0, 0, 0, 0, 0, num_blocks * block - num_steps))
    queries = queries.reshape(num_videos * num_blocks, block, num_heads, head_dim)
    keys, values, mask = (_windows(tensor, num_blocks, block, reach) for tensor in (keys, values, mask))
    bias = _key_bias(mask, queries.dtype)[:, None, None, :]
    is_near = torch.ones(block, block + 2 * reach, dtype=torch.bool, device=mask.device).triu().tril(2 * reach)
    bias = bias.masked_fill(~is_near, -math.inf)
    if relative is not None:
        bias = bias + _along_band(relative.to(bias.dtype), block)
    attended = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), bias
    ).transpose(1, 2)
    return attended.reshape(num_videos, num_blocks * block, num_heads, head_dim)[:, :num_steps]


def _windows(sequence: Tensor, num_blocks: int, block: int, reach: int) -> Tensor:
    """(B, T, ...) to (B blocks, block + 2 reach, ...): each block with its neighbours, and zeros beyond both ends."""
    missing = (num_blocks + 1) * block - sequence.shape[1] - reach
    padded = F.pad(sequence, (0, 0) * (sequence.dim() - 2) + (reach, missing))
    blocks = padded.reshape(len(sequence), num_blocks + 1, block, *sequence.shape[2:])
    return torch.cat((blocks[:, :-1], blocks[:, 1:, : 2 * reach]), dim=2).flatten(0, 1)


def _along_band(relative: Tensor, block: int) -> Tensor:
    """(heads, 2 reach + 1) to (heads, block, block + 2 reach): in row i the values start at key i; the rest is zero."""
    num_heads, width = relative.shape
    # rows that are one entry too long, read without gaps, shift by one key from query to query
    rows = F.pad(relative, (0, block)).repeat(1, block)
    num_keys = block + width - 1
    return rows[:, : block * num_keys].reshape(num_heads, block, num_keys)


def _key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of a key: 0 where `mask` is true."""
    return (~mask).to(dtype) * PADDED_KEY_BIAS


class ConvAttention(nn.Module):
    """Multi-head attention whose queries, keys and values first pass a depthwise convolution and a norm.

    The convolutions halve the sequence if `stride` is 2. A query attends to itself and `window // 2` steps on each side
    (so an even window covers one step more), or to all steps if `window` is at most 1.
    `relative_positions` learns a bias for each head and each distance within an odd window.
    """

    rel_pe: nn.Parameter | None

    def __init__(
        self, dim: int, num_heads: int, *, window: int, stride: int, dropout: float, relative_positions: bool = False
    ) -> None:
        super().__init__()
        kernel = stride + 1 if stride > 1 else 3
        self.num_heads = num_heads
        self.reach = window // 2 if window > 1 else None
        self.register_parameter("rel_pe", None)
        if relative_positions and self.reach is not None:
            assert window % 2 == 1, f"relative positions need an odd window, not {window}"
            self.rel_pe = nn.Parameter(torch.empty(1, 1, num_heads, window))
            nn.init.trunc_normal_(self.rel_pe, std=math.sqrt(2 / dim))
        self.query_conv = MaskedConv1d(dim, dim, kernel, stride=stride, groups=dim, bias=False)
        self.query_norm = ChannelNorm(dim)
        self.key_conv = MaskedConv1d(dim, dim, kernel, stride=stride, groups=dim, bias=False)
        self.key_norm = ChannelNorm(dim)
        self.value_conv = MaskedConv1d(dim, dim, kernel, stride=stride, groups=dim, bias=False)
        self.value_norm = ChannelNorm(dim)
        self.key = PointwiseConv1d(dim, dim)
        self.query = PointwiseConv1d(dim, dim)
        self.value = PointwiseConv1d(dim, dim)
        self.proj = PointwiseConv1d(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T / stride); `mask` (B, 1, T / stride) is true on real steps of the output.

        The convolutions need no mask: attention ignores padded keys, and the last step zeroes padded queries.
        """
        queries = self._heads(self.query(self.query_norm(depthwise(self.query_conv.conv, features))))
        keys = self._heads(self.key(self.key_norm(depthwise(self.key_conv.conv, features))))
        values = self._heads(self.value(self.value_norm(depthwise(self.value_conv.conv, features))))
        if self.reach is None:
            attended = global_attention(queries, keys, values, mask[:, 0])
        else:
            relative = None if self.rel_pe is None else self.rel_pe[0, 0]
            attended = local_attention(queries, keys, values, mask[:, 0], self.reach, relative)
        return self.dropout(self.proj(attended.flatten(2).transpose(1, 2))) * mask

    def _heads(self, stream: Tensor) -> Tensor:
        steps = stream.transpose(1, 2)
        return steps.reshape(*steps.shape[:2], self.num_heads, -1)  # (B, T, heads, dim)


class TransformerBlock(nn.Module):
    """A pre-norm block; if `stride` is above 1 it shortens the sequence, and max-pooling replaces the identity.

    Without `drop_path` the branches also have no learnable scale, as in the official code.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: int,
        stride: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        relative_positions: bool = False,
    ) -> None:
        super().__init__()
        self.ln1 = ChannelNorm(dim)
        self.ln2 = ChannelNorm(dim)
        self.attn = ConvAttention(
            dim, num_heads, window=window, stride=stride, dropout=dropout, relative_positions=relative_positions
        )
        self.skip = nn.MaxPool1d(stride + 1, stride, (stride + 1) // 2) if stride > 1 else nn.Identity()
        self.mlp = nn.Sequential(
            PointwiseConv1d(dim, 4 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            PointwiseConv1d(4 * dim, dim),
            nn.Dropout(dropout),
        )
        self.drop_path_attn, self.drop_path_mlp = (
            AffineDropPath(dim, drop_path) if drop_path > 0 else NoDropPath() for _ in range(2)
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T / stride); `mask` (B, 1, T / stride) is true on real steps of the output."""
        features = self.drop_path_attn.add(self.skip(features) * mask, self._attended, features, mask)
        return self.drop_path_mlp.add(features, self._mixed, features, mask)

    def _attended(self, features: Tensor, mask: Tensor) -> Tensor:
        return self.attn(self.ln1(features), mask)

    def _mixed(self, features: Tensor, mask: Tensor) -> Tensor:
        return self.mlp(self.ln2(features)) * mask
