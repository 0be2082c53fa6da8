"""Reads and writes checkpoints of the official ActionFormer code, such as `epoch_035.pth.tar`."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actloc.errors import UserError
from actloc.weights.files import load

PREFIX = "module."  # added to every name by torch's DataParallel, which the official code trains with


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The weights of a detector in an official file and their averages, under actloc's names."""

    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    epoch: int | None
    """The number of training epochs, if the file has it."""
    in_channels: int | None
    """Channels of the features that the network takes; None if no weight shows it."""
    encoder: dict[str, Tensor] = field(default_factory=dict)
    """The weights of the encoder that was trained with the detector, under the names of its published file."""


def read_official_checkpoint(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError if it is not an official checkpoint."""
    checkpoint = load(path)
    weights, averaged = (_weights(path, checkpoint, entry) for entry in ("state_dict", "state_dict_ema"))
    epoch = checkpoint.get("epoch")
    return OfficialCheckpoint(weights, averaged, epoch if isinstance(epoch, int) else None, in_channels_of(weights))


def in_channels_of(weights: Mapping[str, Tensor]) -> int | None:
    """Channels of the features that an ActionFormer of these weights takes; None if no weight shows it."""
    parts = [tensor for name, tensor in weights.items() if re.fullmatch(r"backbone\.proj\.\d+\..*weight", name)]
    embedding = weights.get("backbone.embd.0.conv.weight")
    kernels = parts or ([] if embedding is None else [embedding])
    return sum(kernel.shape[1] for kernel in kernels if kernel.dim() > 1) or None


def official_content(weights: Mapping[str, Tensor], averaged: Mapping[str, Tensor], epoch: int | None) -> bytes:
    """The bytes of a `.pth.tar` for the official evaluation; without an optimizer it cannot resume training."""
    entries: dict[str, Any] = {  # Any: torch.save takes what it can pickle
        "state_dict": {f"{PREFIX}{name}": tensor for name, tensor in weights.items()},
        "state_dict_ema": {f"{PREFIX}{name}": tensor for name, tensor in averaged.items()},
    }
    if epoch is not None:
        entries["epoch"] = epoch
    stream = io.BytesIO()
    torch.save(entries, stream)
    return stream.getvalue()


def _weights(path: Path, checkpoint: Any, entry: str) -> dict[str, Tensor]:  # Any: whatever the file holds
    weights = checkpoint.get(entry) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        found = f"the entries {', '.join(map(str, checkpoint))}" if isinstance(checkpoint, dict) else "no entries"
        raise UserError(
            f"{path} is not an official ActionFormer checkpoint: it has no weights under {entry}, but {found}.",
            "Expected the weights under state_dict and their averages under state_dict_ema.",
            "Use a file that ActionFormer's train.py saved, such as epoch_035.pth.tar.",
        )
    stripped = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    if len(stripped) < len(weights):
        twice = sorted(name for name in stripped if name in weights and f"{PREFIX}{name}" in weights)
        raise UserError(
            f"{path} has weights with and without the prefix {PREFIX}: {', '.join(twice)}.",
            "Expected each weight once.",
            "Use a file that ActionFormer's train.py saved.",
        )
    return stripped
