"""The names that ETAD's code gives the weights of its detector."""

import re
from pathlib import Path

from torch import Tensor

from actloc.errors import UserError
from actloc.weights.files import load
from actloc.weights.official_actionformer import PREFIX, OfficialCheckpoint

_DETECTOR = "base_detector."
_STEM = "stem.0.weight"
_CONV_GROUPS = 4  # of channels, in which the first convolution takes the features
_EMBEDDING = "enhancement.embedding.conv.weight"
_BRANCHES = {
    "layer1": "embedding",
    "layer2_f": "forward_branch",
    "layer2_b": "backward_branch",
    "layer2_d": "direct_branch",
    "layer3": "joined",
}
_RENAMED = (
    (r"^temporal_enhance\.", "enhancement."),
    *((rf"^enhancement\.{old}\.0\.", f"enhancement.{new}.conv.") for old, new in _BRANCHES.items()),
    *((rf"^enhancement\.{old}\.1\.", f"enhancement.{new}.norm.") for old, new in _BRANCHES.items()),
    (r"^enhancement\.mem_f\.", "enhancement.forward_lstm."),
    (r"^enhancement\.mem_b\.", "enhancement.backward_lstm."),
    (r"^tem\.0\.", "boundary_conv."),
    (r"^tem\.2\.", "boundary_head."),
    (r"^stage_conv\.(\d+)\.0\.", r"stage_convs.\1."),
    (r"^stage_pem\.(\d+)\.reduce_dim_before\.0\.", r"stage_reductions.\1."),
    (r"^stage_pem\.(\d+)\.", r"stage_heads.\1."),
    (r"\.reduce_dim_ext\.0\.", ".trunk."),
    (r"\.iou_fc\.", ".iou."),
    (r"\.cls_se_fc\.", ".boundary_class."),
    (r"\.reg_cw_fc\.", ".center."),
    (r"\.reg_s_fc\.0\.", ".start_bins."),
    (r"\.reg_e_fc\.0\.", ".end_bins."),
    *((rf"\.reg_s_fc\.{2 * layer + 2}\.", f".start.{2 * layer}.") for layer in range(4)),
    *((rf"\.reg_e_fc\.{2 * layer + 2}\.", f".end.{2 * layer}.") for layer in range(4)),
)


def read_official_etad(path: Path) -> OfficialCheckpoint:
    """Reads `path` without running code from it; raises UserError if it has no detector of ETAD.

    The official code does not average weights: both kinds are those of the file. What is not the detector's belongs to
    the encoder, by its name there without what precedes all of them. A name of the detector that is not known stays as
    it is, so that a check against the detector reports it.
    """
    content = load(path)
    entry = content.get("state_dict", content) if isinstance(content, dict) else None
    tensors = {
        str(name).removeprefix(PREFIX): tensor
        for name, tensor in (entry.items() if isinstance(entry, dict) else ())
        if isinstance(tensor, Tensor)
    }
    weights = {actloc_name(name): tensor for name, tensor in tensors.items() if name.startswith(_DETECTOR)}
    embedding = weights.get(_EMBEDDING)
    if embedding is None:
        raise UserError(
            f"{path} is not an official ETAD checkpoint: it has no layers that enhance an encoder's features.",
            "Expected weights such as base_detector.temporal_enhance.layer1.0.weight, under state_dict or at the top.",
            "Use a file that ETAD's training saved.",
        )
    in_channels = _CONV_GROUPS * embedding.shape[1] if embedding.dim() == 3 else None
    encoder = {name: tensor for name, tensor in tensors.items() if not name.startswith(_DETECTOR)}
    # what the authors' files call the encoder is not known: its prefix is read off the name of its first layer
    stem = next((name for name in encoder if name.endswith(_STEM)), _STEM)
    encoder = {name.removeprefix(stem.removesuffix(_STEM)): tensor for name, tensor in encoder.items()}
    return OfficialCheckpoint(weights, weights, None, in_channels, encoder)


def actloc_name(official: str) -> str:
    """The name of a weight in `actloc.detectors.etad`, from its official one."""
    name = official.removeprefix(_DETECTOR)
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name
