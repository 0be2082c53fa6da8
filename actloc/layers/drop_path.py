"""Stochastic depth (Huang et al., 2016) with a learnable scale (CaiT: Touvron et al., 2021)."""

import torch
from torch import Tensor, nn

INITIAL_SCALE = 1e-4  # ActionFormer: every residual branch starts close to zero


class DropPath(nn.Module):
    """In training, drops a sample's whole branch with chance `rate`; branches that are kept are divided by 1 - rate."""

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


class AffineDropPath(nn.Module):
    """Scales each channel of a residual branch and, in training, drops a video's whole branch with chance `rate`."""

    def __init__(self, dim: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.scale = nn.Parameter(torch.full((1, dim, 1), INITIAL_SCALE))

    def forward(self, branch: Tensor) -> Tensor:
        """(B, C, T) to the same shape; branches that are kept are divided by the chance of keeping one."""
        if not self.training or self.rate == 0:
            return branch * self.scale
        keep = 1 - self.rate
        draws = torch.rand(len(branch), 1, 1, dtype=self.scale.dtype, device=branch.device)
        return branch * (self.scale * ((draws + keep).floor() / keep))
