"""The MLP of a transformer's block, with the norm before it (Vaswani et al. 2017; pre-norm: Xiong et al. 2020)."""

from torch import Tensor, nn
from torch.nn import functional as F

_MLP_RATIO = 4


class MLP(nn.Module):
    """After a norm, two layers with four times as many channels between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, _MLP_RATIO * dim)
        self.fc2 = nn.Linear(_MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same shape."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))
