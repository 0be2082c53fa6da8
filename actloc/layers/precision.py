"""Which numbers a network computes with."""

import torch


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """A context in which matrix products and convolutions compute in `precision`; weights and gradients stay float32.

    With float32 it changes nothing; the others are bfloat16 and float16.
    """
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def full_precision(device: torch.device) -> torch.autocast:
    """A context in which all is float32 again, inside of `computing_in`: targets and losses are."""
    return torch.autocast(device.type, enabled=False)
