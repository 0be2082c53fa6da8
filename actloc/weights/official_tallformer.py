"""Reads checkpoints of the official TALLFormer code, which hold a detector and the encoder trained with it."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from actloc.errors import UserError
from actloc.weights.files import load
from actloc.weights.official_actionformer import PREFIX, OfficialCheckpoint

_ENCODER = "backbone."
_COMPUTED = re.compile(r"(.*\.)?(relative_position_index|dummy_tensor|pe\.pe)")
"""Tables that follow from the settings, and numbers without a use."""
_ATTENTION = re.compile(r"\.self_attn\.in_proj_(weight|bias)$")  # torch's name; ours is that of a linear layer
_FIRST = re.compile(r"(.*\.)?(neck|pyramids)\.0\.conv1\.weight")  # the convolution that takes the encoder's features


def read_official_tallformer(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError if it is not an official checkpoint.

    The official code does not average weights: both kinds are those of the file. The encoder's are named as in its
    published file, without `backbone.`.
    """
    found = _weights(path, load(path))
    detector = {
        _ATTENTION.sub(r".self_attn.in_proj.\1", name): tensor
        for name, tensor in found.items()
        if not name.startswith(_ENCODER) and not _COMPUTED.fullmatch(name)
    }
    encoder = {
        name.removeprefix(_ENCODER): tensor
        for name, tensor in found.items()
        if name.startswith(_ENCODER) and not _COMPUTED.fullmatch(name)
    }
    takes = [tensor.shape[1] for name, tensor in detector.items() if _FIRST.fullmatch(name) and tensor.dim() == 3]
    return OfficialCheckpoint(detector, detector, None, takes[0] if takes else None, encoder)


def _weights(path: Path, checkpoint: Any) -> dict[str, Tensor]:  # Any: whatever the file holds
    entry = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    weights = entry if isinstance(entry, dict) else {}
    is_state = all(isinstance(tensor, Tensor) for tensor in weights.values())
    found = {str(name).removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    if not is_state or not any(_FIRST.fullmatch(name) for name in found):
        raise UserError(
            f"{path} is not an official TALLFormer checkpoint: it has no layers that shorten an encoder's features.",
            "Expected weights such as neck.0.conv1.weight, under state_dict or at the top.",
            "Use a file that TALLFormer's training saved, such as epoch_1000_weights.pth.",
        )
    return found
