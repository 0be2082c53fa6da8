"""The device a setting names."""

import torch

from actloc.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device a setting names; auto takes the GPU if there is one. Raises UserError for a GPU that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"machine.device is {name}; torch sees {torch.cuda.device_count()} GPUs.",
            "Expected a device of this machine.",
            "Set machine.device=auto",
        )
    return device
