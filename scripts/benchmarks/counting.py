"""The cost of a training step, in numbers that other jobs on the machine cannot change."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]
aten = torch.ops.aten


@dataclass(frozen=True)
class Counts:
    """One forward and backward pass."""

    flops: float
    """Multiplications and additions of matrix products, convolutions and attention."""
    kernels: int
    """Dispatched operators that are not views by their schema."""
    saved_bytes: float
    """Bytes of the storages kept for the backward pass, each counted once, without parameters."""


class _KernelCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts dispatched operators except views, which start no kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # Any: an operator's arguments and results
        self.kernels += not func.is_view
        return func(*args, **(kwargs or {}))


class _SavedStorages:
    """Hooks that keep every storage of the graph, so that no address is used twice."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        self.storages: dict[int, torch.UntypedStorage] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters:
            self.storages[storage.data_ptr()] = storage
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def count(network: nn.Module, loss: Callable[[], Tensor]) -> Counts:
    """The costs of computing `loss` and its gradients, if drop path leaves out nothing."""
    from actloc.layers.drop_path import computing_all_branches  # `against_side` runs with older commits without it

    saved = _SavedStorages(network)
    counter = _KernelCounter()
    flops = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    network.zero_grad(set_to_none=True)
    with flops, counter, computing_all_branches(network):
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            total = loss()
        saved_bytes = saved.bytes
        total.backward()  # type: ignore[no-untyped-call]
    return Counts(flops.get_total_flops(), counter.kernels, saved_bytes)


def forward_flops(task: Callable[[], object]) -> float:
    """Multiplications and additions of a task without a backward pass."""
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as flops:
        task()
    return flops.get_total_flops()


def _convolution_backward(
    grad: Shape, features: Shape, weight: Shape, *rest: Any, out_shape: Any = None, **_: Any
) -> int:
    """Each gradient that is needed costs one forward pass; torch counts a depthwise weight gradient C times."""
    output_mask = rest[-1]
    per_gradient = 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight)
    return per_gradient * (int(output_mask[0]) + int(output_mask[1]))


def _attention(queries: Shape, keys: Shape, values: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(queries, keys, values)  # type: ignore[no-untyped-call]


def _attention_backward(grad: Shape, queries: Shape, keys: Shape, values: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, queries, keys, values)  # type: ignore[no-untyped-call]


def _recurrent_layer(features: Shape, *shapes: Any, **_: Any) -> int:
    """Every step (T, B, C) is multiplied by both weights."""
    return 2 * math.prod(features[:2]) * (math.prod(shapes[0]) + math.prod(shapes[1]))


def _recurrent_layer_backward(features: Shape, *shapes: Any, **_: Any) -> int:
    """Gradients of weights and features cost as much each as the forward pass."""
    return 2 * _recurrent_layer(features, *shapes)


_FORMULAS = {  # torch has no formula for attention and for LSTMs on the CPU
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _recurrent_layer,
    aten.mkldnn_rnn_layer_backward: _recurrent_layer_backward,
}


def at_lengths(short: tuple[int, float], long: tuple[int, float], lengths: list[int]) -> float:
    """The mean over `lengths` of a cost that is linear in the length, from two (length, cost)."""
    slope = (long[1] - short[1]) / (long[0] - short[0])
    return short[1] + slope * (sum(lengths) / len(lengths) - short[0])
