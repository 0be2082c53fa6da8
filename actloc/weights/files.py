"""Reads checkpoints of other projects without running code from them, and checks whether they fit a network."""

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actloc import console
from actloc.damage import refused
from actloc.errors import UserError

_DETECTOR_FIX = (
    "Set `detector:` to the settings of the training. The classes of the annotations and features.max_steps can shape "
    "weights too."
)


def check_fit(network: nn.Module, weights: dict[str, Tensor], source: Path, fix: str = _DETECTOR_FIX) -> None:
    """Raises UserError that lists every weight of `source` that is missing, unexpected or of another shape."""
    expected = network.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is unexpected" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, the settings make it {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if wrong:
        count, do = console.count(len(wrong), "weight"), "does" if len(wrong) == 1 else "do"
        listed = "\n  ".join(wrong)
        raise UserError(
            f"{count} of {source} {do} not fit the settings:\n  {listed}",
            f"Expected the {len(expected)} weights of the network that the settings describe.",
            fix,
        )


def load(path: Path) -> Any:  # Any: whatever the file holds
    """Loads a file of torch.save that contains only tensors and plain values; raises UserError for any other."""
    if not path.is_file():
        raise UserError(f"There is no file {path}.", "Expected a checkpoint.", "Check the path.")
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # about unusual pickles: they load safely or are refused
            refused(path, lambda what: _damaged(path, what), passing=pickle.UnpicklingError),
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a checkpoint: {what}.",
        "Expected a complete file, written by torch.save.",
        "Download or copy it again.",
    )


def _refusal(path: Path, why: str) -> UserError:
    """What the file asks for. torch names it, except in plain pickles, which it does not read that far."""
    named = re.search(r"(?:GLOBAL|[Uu]nsupported class) (\S+)", why)
    foreign, strings = named[1] if named else None, ["?", "?"]
    protocol: Any = 0  # Any: pickletools gives the argument of any operation
    try:
        with path.open("rb") as file:
            for operation, argument, _ in () if foreign or zipfile.is_zipfile(path) else pickletools.genops(file):
                protocol = argument if operation.name == "PROTO" else protocol
                if operation.name == "STACK_GLOBAL":
                    foreign = ".".join(strings[-2:])
                    break
                strings += [argument] if isinstance(argument, str) else []
    except (ValueError, OverflowError, MemoryError, IndexError) as error:  # what pickletools raises on torn files
        return _damaged(path, str(error))
    if foreign is None and protocol > 2:
        return UserError(
            f"{path} is a pickle of protocol {protocol}.",
            "Expected a checkpoint as torch.save writes it, of protocol 2.",
            "Load it where you trust it, and save the weights again: torch.save(weights, FILE)",
        )
    return UserError(
        f"{path} was refused: it needs {foreign or 'something that torch.save does not write'}.",
        "Expected a checkpoint that contains only tensors and plain values.",
        "Ask its author for a file with only the weights: reading this one could run the code that it names.",
    )


def load_part(network: nn.Module, tensors: dict[str, Tensor], path: Path, fix: str) -> None:
    """Loads the tensors of `path` strictly into one of several networks of an encoder, each with its own file."""
    check_fit(network, tensors, path, fix)
    network.load_state_dict(tensors)
