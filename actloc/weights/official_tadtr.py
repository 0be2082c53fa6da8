"""Reads checkpoints of the official TadTR code, whose names of weights are actloc's."""

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actloc.errors import UserError
from actloc.weights.files import load
from actloc.weights.official_actionformer import PREFIX, OfficialCheckpoint

_PROJECTION = "input_proj.0.0.weight"
_COPIED, _ORIGINAL = "transformer.decoder.segment_embed.", "segment_embed."


class _PlainDict:
    """In place of EasyDict, of which the official settings are made: an OrderedDict, which torch knows to be safe."""

    def __new__(cls) -> Any:  # Any: not an instance of this class
        return OrderedDict[str, object]()


class _Ignored:
    """In place of NumPy's numbers, such as the best score, which are not needed."""

    def __init__(self, *given: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [  # Any: what a class is made of
    argparse.Namespace,
    (_PlainDict, "easydict.EasyDict"),
    *(
        (_Ignored, name)
        for name in (
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.dtype",
            "numpy.dtypes.Float32DType",
            "numpy.dtypes.Float64DType",
        )
    ),
]
"""Placeholders for the classes of a file's settings and score: no code from the file runs, nor do they."""


def read_official_tadtr(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError if it is not an official checkpoint.

    The official code does not average weights: both kinds are those of the file.
    """
    with torch.serialization.safe_globals(_STAND_INS):
        checkpoint = load(path)
    weights = _weights(path, checkpoint)
    unequal = [
        name
        for name, tensor in weights.items()
        if name.startswith(_COPIED) and not _is_equal(tensor, weights.get(_ORIGINAL + name.removeprefix(_COPIED)))
    ]
    if unequal:
        raise UserError(
            f"{path} has two values of the same weight: {', '.join(unequal)}.",
            f"Expected {_COPIED}* to equal {_ORIGINAL}*, as in all files that TadTR's code saves.",
            "Download it again, or ask its author.",
        )
    epoch, projection = checkpoint.get("epoch"), weights[_PROJECTION]
    in_channels = projection.shape[1] if projection.dim() == 3 else None
    return OfficialCheckpoint(weights, weights, epoch if isinstance(epoch, int) else None, in_channels)


def _is_equal(tensor: Tensor, other: Tensor | None) -> bool:
    return other is None or torch.equal(tensor, other)


def _weights(path: Path, checkpoint: Any) -> dict[str, Tensor]:  # Any: whatever the file holds
    entry = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    weights = entry if isinstance(entry, dict) else {}
    found = {str(name).removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    if _PROJECTION not in found or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise UserError(
            f"{path} is not an official TadTR checkpoint: it has no layer that takes features.",
            f"Expected weights such as {_PROJECTION}, under model.",
            "Use a file that TadTR's training saved, such as model_best.pth.",
        )
    return found
