"""Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost")."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module, is_on: bool) -> None:
    """Whether, from now on, the block keeps only its input for the backward pass, which runs it again."""
    own = block.forward
    if isinstance(own, partial) and own.func is checkpoint:
        block.forward = own.args[0]
    if is_on:
        contexts = partial(_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Those of the first run and of the second."""
    return nullcontext(), _with_fixed_statistics(block)


@contextmanager
def _with_fixed_statistics(block: nn.Module) -> Iterator[None]:
    """Inside it, batch norms that learn their statistics compute as always, but learn nothing.

    They have learned from this batch in the first run.
    """
    norms = [one for one in block.modules() if isinstance(one, _BatchNorm) and one.training]
    learning = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, counted in learning:
        # without statistics, the second run would not save the same tensors as the first
        norm.momentum, norm.num_batches_tracked = 0.0, None if counted is None else counted.clone()
    try:
        yield
    finally:
        for norm, momentum, counted in learning:
            norm.momentum, norm.num_batches_tracked = momentum, counted
