"""Counts multiply-adds of a network, as papers state them: one for each product of a convolution, matrix or attention.

The network and its inputs belong on the meta device: nothing is computed there, and torch's counter sees the products
of attention, which it does not on a CPU.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@runtime_checkable
class HasOwnProducts(Protocol):
    """A module that is defined by products that torch does not count, those of values one by one."""

    def own_products(self, x: Tensor) -> int:
        """The multiply-adds of a call with `x` that no convolution, matrix product or attention does."""


def multiply_adds(network: nn.Module, call: Callable[[], object]) -> int:
    """The multiply-adds of `call`, which calls `network`, with the products that its modules add themselves."""
    own: list[int] = []

    def add(module: nn.Module, inputs: tuple[Any, ...], _: object) -> None:  # Any: whatever modules take
        assert isinstance(module, HasOwnProducts), f"{type(module).__name__} adds no products"
        own.append(module.own_products(inputs[0]))

    counted = [module for module in network.modules() if isinstance(module, HasOwnProducts)]
    hooks = [module.register_forward_hook(add) for module in counted]
    try:
        with FlopCounterMode(display=False) as counter:
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2 + sum(own)
