"""Reads checkpoints that other projects wrote, never running code from them, and writes them back."""

import io
import pickle
import pickletools
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actloc.errors import UserError

_PREFIX = "module."  # torch's DataParallel puts it before every name; the official code trains under it


@dataclass(frozen=True)
class OfficialCheckpoint:
    """The weights of an official ActionFormer `.pth.tar` and their averages, under actloc's names."""

    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    epoch: int | None
    """Epochs of training behind it, where the file says."""

    @property
    def in_channels(self) -> int | None:
        """Channels of the features that the network takes; None where no weight says it."""
        parts = [
            tensor for name, tensor in self.weights.items() if re.fullmatch(r"backbone\.proj\.\d+\..*weight", name)
        ]
        embedding = self.weights.get("backbone.embd.0.conv.weight")
        kernels = parts or ([] if embedding is None else [embedding])
        return sum(kernel.shape[1] for kernel in kernels if kernel.dim() > 1) or None


def read_official_checkpoint(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError where it is no official checkpoint."""
    checkpoint = load(path)
    weights, averaged = (_weights(path, checkpoint, entry) for entry in ("state_dict", "state_dict_ema"))
    epoch = checkpoint.get("epoch")
    return OfficialCheckpoint(weights, averaged, epoch if isinstance(epoch, int) else None)


def official_content(checkpoint: OfficialCheckpoint) -> bytes:
    """A `.pth.tar` that the official evaluation reads; it has no optimizer to go on training with."""
    entries: dict[str, Any] = {  # Any: torch.save takes what it can pickle
        "state_dict": {f"{_PREFIX}{name}": tensor for name, tensor in checkpoint.weights.items()},
        "state_dict_ema": {f"{_PREFIX}{name}": tensor for name, tensor in checkpoint.averaged.items()},
    }
    if checkpoint.epoch is not None:
        entries["epoch"] = checkpoint.epoch
    stream = io.BytesIO()
    torch.save(entries, stream)
    return stream.getvalue()


_DETECTOR_MEND = "Set `detector:` to what the weights were trained with; the first numbers of cls_head are the classes."


def check_fit(network: nn.Module, weights: dict[str, Tensor], source: Path, mend: str = _DETECTOR_MEND) -> None:
    """Raises UserError that lists every weight of `source` that `network` lacks, misses or has in another shape."""
    expected = network.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is unexpected" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, the settings make it {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if wrong:
        listed = "\n  ".join(wrong)
        raise UserError(
            f"{len(wrong)} weights of {source} do not fit the settings:\n  {listed}",
            f"Expected the {len(expected)} weights of the network that the settings describe.",
            mend,
        )


def _weights(path: Path, checkpoint: Any, entry: str) -> dict[str, Tensor]:  # Any: whatever the file holds
    weights = checkpoint.get(entry) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        found = f"the entries {', '.join(map(str, checkpoint))}" if isinstance(checkpoint, dict) else "no entries"
        raise UserError(
            f"{path} is no official ActionFormer checkpoint: it has no weights under {entry}, but {found}.",
            "Expected the weights under state_dict and their averages under state_dict_ema.",
            "Give a file that ActionFormer's train.py saved, such as epoch_035.pth.tar.",
        )
    stripped = {name.removeprefix(_PREFIX): tensor for name, tensor in weights.items()}
    if len(stripped) < len(weights):
        twice = sorted(name for name in stripped if name in weights and f"{_PREFIX}{name}" in weights)
        raise UserError(
            f"{path} has weights with and without the prefix {_PREFIX}: {', '.join(twice)}.",
            "Expected each weight once.",
            "Give a file that ActionFormer's train.py saved.",
        )
    return stripped


def load(path: Path) -> Any:  # Any: whatever the file holds
    """The content of a file that torch.save wrote, if it is tensors and plain values; raises UserError."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Expected a checkpoint.", "Check the path.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of unusual pickles: they load safely or are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} was refused: it needs {_foreign_class(path, str(error))}.",
            "Expected a checkpoint with nothing in it but tensors and plain values.",
            "Ask its author for the weights alone: reading this file could run the code that it names.",
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError) as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}).",
            "Expected a whole file, written by torch.save.",
            "Download or copy it again.",
        ) from error


def _foreign_class(path: Path, refusal: str) -> str:
    """What the file asks for: torch names it, except in plain pickles, which it does not read that far."""
    named = re.search(r"(?:GLOBAL|[Uu]nsupported class) (\S+)", refusal)
    if named:
        return named[1]
    strings = ["?", "?"]
    with path.open("rb") as file:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            strings += [argument] if isinstance(argument, str) else []
    return "what torch.save does not write"
