"""Stochastic depth (Huang et al., 2016) with a learnable scale (CaiT: Touvron et al., 2021)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Branch = Callable[[Tensor, Tensor], Tensor]
INITIAL_SCALE = 1e-4  # ActionFormer: every residual branch starts close to zero


class DropPath(nn.Module):
    """Drops, in training, a sample's whole branch with chance `rate`, and divides the others by that of keeping."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to the same shape."""
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        draws = torch.rand(len(branch), *[1] * (branch.dim() - 1), device=branch.device)
        return branch * ((draws < keep).to(branch) / keep)


class NoDropPath(nn.Module):
    """Keeps every branch as it is."""

    def add(self, shortcut: Tensor, branch: Branch, features: Tensor, mask: Tensor) -> Tensor:
        """`shortcut` (B, C', T') and the branch of `features` (B, C, T) and `mask` (B, 1, T')."""
        return shortcut + branch(features, mask)


class AffineDropPath(nn.Module):
    """Scales each channel of a residual branch and, in training, drops a video's whole branch with chance `rate`."""

    def __init__(self, dim: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.computes_all = False
        self.scale = nn.Parameter(torch.full((1, dim, 1), INITIAL_SCALE))

    def forward(self, branch: Tensor) -> Tensor:
        """(B, C, T) to the same shape; branches that are kept are divided by the chance of keeping one."""
        if not self.training or self.rate == 0:
            return branch * self.scale
        return branch * (self.scale * self._drawn(branch))

    def add(self, shortcut: Tensor, branch: Branch, features: Tensor, mask: Tensor) -> Tensor:
        """`shortcut` (B, C', T') and what `forward` makes of the branch of `features` (B, C, T) and `mask` (B, 1, T').

        On a CPU no branch is computed that is dropped; a GPU would have to wait for their number.
        """
        if not self.training or self.rate == 0 or self.computes_all or features.device.type != "cpu":
            return shortcut + self(branch(features, mask))
        drawn = self._drawn(features)
        rows = drawn.flatten().nonzero()[:, 0]
        if len(rows) == len(features):
            return shortcut + branch(features, mask) * (self.scale * drawn)
        if len(rows) == 0:  # the weights of a branch that all videos lose have gradients of zero all the same
            rows = rows.new_zeros(1)
        added = branch(_of(rows, features), _of(rows, mask)) * (self.scale * drawn[rows])
        steps = shortcut.transpose(1, 2).to(torch.result_type(shortcut, added))
        return steps.index_add(0, rows, added.transpose(1, 2)).transpose(1, 2)

    def _drawn(self, features: Tensor) -> Tensor:
        """A factor for each video, (B, 1, 1): 0 with chance `rate`."""
        keep = 1 - self.rate
        draws = torch.rand(len(features), 1, 1, dtype=self.scale.dtype, device=features.device)
        return (draws + keep).floor() / keep


def _of(rows: Tensor, videos: Tensor) -> Tensor:
    """These of (B, C, T); the result is a view of (B, T, C) memory."""
    return videos.transpose(1, 2).index_select(0, rows).transpose(1, 2)


@contextmanager
def computing_all_branches(network: nn.Module) -> Iterator[None]:
    """Inside, branches that are dropped are computed too: what a step takes does not depend on chance."""
    layers = [one for one in network.modules() if isinstance(one, AffineDropPath)]
    for one in layers:
        one.computes_all = True
    try:
        yield
    finally:
        for one in layers:
            one.computes_all = False
