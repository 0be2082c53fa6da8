"""The names and forms of DualFormer's published weights (sail-sg/dualformer)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from actloc import console
from actloc.errors import UserError
from actloc.weights.inflation import inflated

_NORMS = {".attn.norm1.": ".norm1.", ".mlp.norm.": ".norm2."}
"""Our names of the norms in a block, and the published ones."""
_COARSE_INITIAL = {"blocks.0.": 1 / 16, "blocks.1.": 1 / 4}
"""What the authors start the coarse level's second convolution with: the means of the pooled tokens, at 32 frames."""

_ALONG_TIME = (".attn.sr.weight", ".attn.lr.3.weight")
"""The convolutions whose length depends on the frames of a clip."""


def published_name(name: str) -> str:
    """The name that published files have for a tensor of ours."""
    for ours, theirs in _NORMS.items():
        name = name.replace(ours, theirs)
    return name if name.startswith("cls_head.") else f"backbone.{name}"


def our_name(name: str) -> str:
    """The name that we have for a tensor of a published file."""
    name = name.removeprefix("backbone.")
    for ours, theirs in _NORMS.items():
        name = name.replace(theirs, ours)
    return name


def over_clips(pictures: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Tensors of a network over pictures, under our names, as the authors start one over clips of these shapes.

    The classifier of pictures is dropped.
    """
    named = {name: tensor for name, tensor in pictures.items() if not name.startswith("head.")}
    for name, shape in shapes.items():
        if ".lr.3." in name:
            mean = next(value for start, value in _COARSE_INITIAL.items() if name.startswith(start))
            named[name] = torch.full(shape, mean if name.endswith("weight") else 0.0)
    return inflated(named, shapes)


def new_pyramid(initial: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The `initial` convolutions of the pyramid that the `tensors` of `path` do not fit; raises UserError if all do."""
    new = {
        name: tensor
        for name, tensor in initial.items()
        if name.endswith(_ALONG_TIME) and name in tensors and tensors[name].shape != tensor.shape
    }
    if not new:
        raise UserError(
            f"features.encoder.pyramid is new, and the pyramid of {path} fits.",
            "Expected weights that were trained with another number of frames.",
            "Set features.encoder.pyramid=file",
        )
    start = "convolution of the pyramid starts", "convolutions of the pyramid start"
    console.warn(f"{path} is for another number of frames: {console.count(len(new), *start)} with random weights")
    return new
