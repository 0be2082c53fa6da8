"""Blocks of a vision transformer, named as VideoMAE's authors name them (Tong et al. 2022, arXiv 2203.12602)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-6


class Block(nn.Module):
    """Attention and an MLP, each after a norm and with a shortcut."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, mlp_dim), "fc2": nn.Linear(mlp_dim, dim)})

    def forward(self, tokens: Tensor, factors: Tensor | None = None) -> Tensor:
        """(S, N, C) to (S, N, C); `factors` (2, S, 1, 1) multiply each clip's attention and MLP before they are added.

        Stochastic depth draws them outside of the block, which can then be computed again with the same ones.
        """
        attended = self.attn(self.norm1(tokens))
        tokens = tokens + (attended if factors is None else attended * factors[0])
        hidden = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))
        return tokens + (hidden if factors is None else hidden * factors[1])


class Attention(nn.Module):
    """Every token attends to every token. Keys have no bias, which would cancel in the softmax."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(S, N, C) to (S, N, C)."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        mixed = F.linear(tokens, self.qkv.weight, bias).reshape(*tokens.shape[:2], 3, self.num_heads, -1)
        queries, keys, values = mixed.permute(2, 0, 3, 1, 4)  # (S, heads, N, dim)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(attended.transpose(1, 2).flatten(2))
