"""Checkpoints of BMN's public PyTorch code, whose names of weights `actloc.detectors.bmn` keeps."""

from pathlib import Path

from torch import Tensor

from actloc.errors import UserError
from actloc.weights.files import load
from actloc.weights.official_actionformer import PREFIX, OfficialCheckpoint

SAMPLE_MASK = "sample_mask"  # follows from the settings: 128 MB of the file for 100 steps
_CONV_GROUPS = 4  # of channels, in which the first convolution takes the features
_FIRST = "x_1d_b.0.weight"


def read_official_bmn(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError if it has no detector of BMN.

    The official code does not average weights: both kinds are those of the file. Its mask of samples is left out.
    """
    content = load(path)
    entry = content.get("state_dict", content) if isinstance(content, dict) else None
    weights = {
        str(name).removeprefix(PREFIX): tensor
        for name, tensor in (entry.items() if isinstance(entry, dict) else ())
        if isinstance(tensor, Tensor)
    }
    weights.pop(SAMPLE_MASK, None)
    first = weights.get(_FIRST)
    if first is None:
        raise UserError(
            f"{path} is not an official BMN checkpoint: it has no {_FIRST}.",
            f"Expected weights such as {PREFIX}{_FIRST}, under state_dict or at the top.",
            "Use a file that the training of JJBOY's BMN-Boundary-Matching-Network saved.",
        )
    in_channels = _CONV_GROUPS * first.shape[1] if first.dim() == 3 else None
    return OfficialCheckpoint(weights, weights, None, in_channels)
