"""SlowFast 8x8: a slow pathway on a quarter of the frames (2048 channels), a fast one on all of them (256).

Feichtenhofer et al. 2019 (arXiv 1812.03982), as PySlowFast publishes it: R50, and R101 with temporal kernels in all or
in the first 6 blocks of res4. Parameters have PySlowFast's names; those of Caffe2 and PyTorchVideo are converted.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import PositiveInt, model_validator

from actloc.encoders.base import PublishedConfig
from actloc.errors import UserError
from actloc.video.frame_transforms import Crop, FrameStep, LeftHalf, Place, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.slowfast.network import SlowFast
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of s2 to s5
WINDOW = 7  # pixels of the published network's average pooling
_REDUCTION = 32  # pixels of the picture per pixel of the last feature map
_KINETICS400 = {"projection": 400}
_CLASSIFIERS = ("projection", "projection_verb", "projection_noun")  # the last two: EPIC-Kitchens-100
_RES4_TEMPORAL = re.compile(  # under the names of each of the three forms
    r"s4\.pathway0_res\d+\.branch2\.a\.weight"
    r"|blocks\.3\.multipathway_blocks\.0\.res_blocks\.\d+\.branch2\.conv_a\.weight"
    r"|res4_\d+_branch2a_w"
)
PUBLISHED = {
    50: PublishedFile(
        "SlowFast.pyth",
        "github.com/epic-kitchens/epic-kitchens-slowfast (README, trained on EPIC-Kitchens-100; for Kinetics-400 take "
        "SLOWFAST_8x8_R50.pkl of github.com/facebookresearch/SlowFast, MODEL_ZOO.md)",
        "138 MB, plus optimizer state",
    ),
    101: PublishedFile(
        "SLOWFAST_8x8_R101.pyth",
        "github.com/facebookresearch/pytorchvideo (docs/source/model_zoo.md, trained on Kinetics-400)",
        "251 MB, plus optimizer state",
    ),
}


class Config(PublishedConfig):
    """Settings of SlowFast; the defaults are those of PySlowFast's test of the R50."""

    depth: Literal[50, 101] = 50
    """Number of layers of the ResNets; must match the weights file."""
    res4_temporal_blocks: PositiveInt | None = None
    """Number of leading blocks of res4 with temporal kernels; null: all. An R101 of the variant 50_50 has 6."""
    left_half: bool = False
    """Use the left half of each frame: the left eye of stereo recordings (Ego4D)."""
    short_side: PositiveInt = 256
    """Short side in pixels after resizing; the long side keeps the aspect ratio, rounded down."""
    crop: PositiveInt = 256
    """Side in pixels of the square that the network sees."""
    crop_place: Place = "centre"
    """Place of the square along the longer side; three-view testing uses all three places."""
    crop_rounding: Literal["ceil", "round"] = "ceil"
    """Rounding of the square's position, where it falls on half a pixel: ceil as in PySlowFast, round (half to even)
    as in Ego4D."""
    pooling: Literal["global", "overlapping"] = "global"
    """Pooling of the last feature maps. global: the mean over all positions; overlapping: the mean of the means of all
    7 x 7 windows (Ego4D)."""
    output: Literal["features", "probabilities"] = "features"
    """Contents of a row. features; or class probabilities as in PySlowFast's test: a softmax per 7 x 7 window, then the
    mean over windows (EPIC-Kitchens: 97 verbs, then 300 nouns)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blocks = BLOCKS[self.depth][2]
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        has_windows = self.pooling == "overlapping" or self.output == "probabilities"
        if has_windows and self.crop <= (WINDOW - 1) * _REDUCTION:
            setting = "pooling: overlapping" if self.pooling == "overlapping" else "output: probabilities"
            raise ValueError(f"{setting} needs a crop of 193 pixels or more, found {self.crop}")
        if self.res4_temporal_blocks is not None and self.res4_temporal_blocks > blocks:
            raise ValueError(
                f"res4_temporal_blocks is {self.res4_temporal_blocks}, but depth {self.depth} has {blocks} in res4"
            )
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes (bilinear, without antialiasing), then crops the square."""
        resize = Resize("bilinear", short_side=self.short_side, rounding="floor")
        crop = Crop(self.crop, rounding=self.crop_rounding, place=self.crop_place)
        return (LeftHalf(), resize, crop) if self.left_half else (resize, crop)

    def network(self) -> SlowFast:
        """The encoder with random weights and a classifier of Kinetics-400."""
        from actloc.encoders.slowfast.network import SlowFast

        return SlowFast(self, _KINETICS400)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place."""
        return [published.locate(self.weights, PUBLISHED[self.depth])]

    def build(self) -> SlowFast:
        """The encoder with the file's weights and classifiers."""
        from actloc.encoders.base_network import load_into
        from actloc.encoders.slowfast.network import in_our_names
        from actloc.weights import caffe2

        (path,) = self.weights_files()
        tensors = caffe2.read(path) if caffe2.is_caffe2(path) else published.read(path)
        _check_kind(self, tensors, path)
        tensors = in_our_names(tensors, self)
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def network_for(self, weights: Mapping[str, Tensor]) -> SlowFast:
        """The encoder with random weights and the classifiers that these, under our names, have."""
        from actloc.encoders.slowfast.network import SlowFast

        return SlowFast(self, _classes(weights) or _KINETICS400)

    @classmethod
    def small(cls) -> Config:
        """Small frames; the network has one width."""
        return cls(short_side=64, crop=64, left_half=True)


def _classes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of classes of each classifier in a file's tensors, under our names."""
    weights = {name: tensors.get(f"head.{name}.weight") for name in _CLASSIFIERS}
    return {name: len(weight) for name, weight in weights.items() if weight is not None and weight.dim() == 2}


def _check_kind(config: Config, tensors: dict[str, Tensor], path: Path) -> None:
    """Raises UserError if depth or temporal blocks of the weights differ from the settings."""
    kernels = [
        tensor.shape[2] for name, tensor in tensors.items() if _RES4_TEMPORAL.fullmatch(name) and tensor.dim() == 5
    ]
    depth = next((depth for depth, blocks in BLOCKS.items() if blocks[2] == len(kernels)), None)
    temporal = sum(kernel > 1 for kernel in kernels)
    expected = config.depth, config.res4_temporal_blocks or BLOCKS[config.depth][2]
    if depth is None or (depth, temporal) == expected:
        return  # weights that are not a SlowFast's are listed one by one when they are loaded
    raise UserError(
        f"{path} contains a SlowFast of depth {depth} with temporal blocks in res4: {temporal}.",
        f"Expected depth {expected[0]} with {expected[1]}, as in the settings.",
        f"Set features.encoder.depth={depth} features.encoder.res4_temporal_blocks={temporal}, or use another "
        "file: features.encoder.weights=FILE",
    )
