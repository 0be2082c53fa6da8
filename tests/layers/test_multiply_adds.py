import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.layers.multiply_adds import multiply_adds


class Scaled(nn.Module):
    """Three numbers times each value."""

    def forward(self, x: Tensor) -> Tensor:
        return sum(number * x for number in (1, 2, 3))

    def own_products(self, x: Tensor) -> int:
        return 3 * x.numel()


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.scaled = Scaled()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.scaled(self.depthwise(self.conv(x))).flatten(2).mT  # (N, 30, 8)
        return self.head(F.scaled_dot_product_attention(tokens, tokens, tokens))


BY_HAND = 2 * 30 * (8 * 3 * 9 + 8 * 9 + 3 * 8 + 30 * 8 + 30 * 8 + 8 * 5)


def test_convolutions_matrices_attention_and_own_products_are_counted() -> None:
    with torch.device("meta"):
        network, x = Network(), torch.empty(2, 3, 5, 6)
    assert multiply_adds(network, lambda: network(x)) == BY_HAND
    assert multiply_adds(network, lambda: (network(x), network(x))) == 2 * BY_HAND


def test_a_call_that_fails_leaves_nothing_on_the_modules() -> None:
    with torch.device("meta"):
        network, x = Network(), torch.empty(2, 4, 5, 6)
    with pytest.raises(RuntimeError, match="channel"):
        multiply_adds(network, lambda: network(x))
    assert not network.scaled._forward_hooks
