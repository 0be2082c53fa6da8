"""The precision that networks compute in."""

import torch
from torch import Tensor


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """A context in which matrix products and convolutions compute in `precision`; weights and gradients stay float32.

    `precision` is float32 (changes nothing), bfloat16 or float16.
    """
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or as they are in float64, in which gradients are compared."""
    return values if values.dtype == torch.float64 else values.float()


def full_precision(device: torch.device) -> torch.autocast:
    """A context inside `computing_in` that computes in float32 again, as targets and losses need."""
    return torch.autocast(device.type, enabled=False)
