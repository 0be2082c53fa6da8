"""Reads checkpoints that other projects wrote, never running code from them."""

import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actloc.errors import UserError


def read_official_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """`weights` and `averaged_weights` of an official ActionFormer `.pth.tar`, under actloc's names."""
    checkpoint = _load(path)
    return {
        "weights": _weights(path, checkpoint, "state_dict"),
        "averaged_weights": _weights(path, checkpoint, "state_dict_ema"),
    }


def _weights(path: Path, checkpoint: Any, entry: str) -> dict[str, Tensor]:  # Any: whatever the file holds
    weights = checkpoint.get(entry) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        found = f"the entries {', '.join(map(str, checkpoint))}" if isinstance(checkpoint, dict) else "no entries"
        raise UserError(
            f"{path} is no official ActionFormer checkpoint: it has no weights under {entry}, but {found}.",
            "Expected the weights under state_dict and their averages under state_dict_ema.",
            "Give a file that ActionFormer's train.py saved, such as epoch_035.pth.tar.",
        )
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}  # DataParallel's prefix


def _load(path: Path) -> Any:
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
