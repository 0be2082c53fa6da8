"""The device that the settings choose."""

import torch

from actloc import console
from actloc.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is the GPU, if there is one. Raises UserError for a GPU that does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"machine.device is {name}; torch finds {console.count(torch.cuda.device_count(), 'GPU')}.",
            "Expected a device of this machine.",
            "Set machine.device=auto",
        )
    return device
