"""TANet: a ResNet-50 over frames that mixes them by temporal adaptive modules (Liu et al. 2021, arXiv 2005.06803).

Loads the checkpoints of liu-zhy/temporal-adaptive-module and of mmaction2, and torchvision's ResNet-50 as a start for
training.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import PositiveInt, model_validator

from actloc.encoders.base import PublishedConfig
from actloc.errors import UserError
from actloc.settings.sections import Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.tanet.network import TANet
_KINETICS_CLASSES = 400
_IN_TAM = ".tam."
_FRAMES_SHOWN_BY = "layer1.0.tam.kernel.0.weight"
"""Its second dimension is the number of frames that weights were trained with."""
_WHERE = (
    "github.com/liu-zhy/temporal-adaptive-module (README, trained on Kinetics-400), where also those for "
    "Something-Something are; others: github.com/open-mmlab/mmaction2, folder configs/recognition/tanet"
)
PUBLISHED = {
    frames: PublishedFile(
        f"kinetics_RGB_resnet50_tam_avg_segment{frames}_e100_dense/ckpt.best.pth.tar",
        _WHERE,
        "26 million weights, plus optimizer state",
    )
    for frames in (8, 16)
}
IMAGENET = PublishedFile("resnet50-0676ba61.pth", "torchvision as ResNet50_Weights.IMAGENET1K_V1", "98 MB")
_OUR_NAMES = (
    (r"^(base_model|backbone)\.", ""),
    (r"^(new_fc|cls_head\.fc_cls)\.", "fc."),
    (r"\.(net|block)\.", "."),
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.bn\.", r"bn\1."),
    (r"downsample\.conv\.", "downsample.0."),
    (r"downsample\.bn\.", "downsample.1."),
    (r"\.self_conv\.conv_f\.", ".tam.G."),  # the official code's older names
    (r"\.self_conv\.conv_g\.", ".tam.L."),
    (r"\.tam\.G\.", ".tam.kernel."),
    (r"\.tam\.L\.", ".tam.importance."),
    (r"^(conv1|bn1)\.", r"stem.\1."),
)
"""From the names in the official code, in mmaction2 and in torchvision, one replacement after the other."""


class Config(PublishedConfig):
    """Settings of TANet; frames are prepared as for the published accuracy of one view."""

    frames: Literal[8, 16] = 8
    """Frames of a clip, exactly: weights fit the number that they were trained with."""
    mode: Literal["token", "clip"] = "token"
    """Vectors of a clip. token: one for each frame; clip: their mean."""
    weights_of: Annotated[Literal["tanet", "imagenet"], Shapes("nothing")] = "tanet"
    """What the weights file contains. tanet: all weights; imagenet: those of torchvision's ResNet-50, to train from:
    the temporal modules are drawn at random, the same each time, and there is no classifier."""
    short_side: PositiveInt = 256
    """Short side in pixels after resizing; the long side keeps the aspect ratio, rounded down."""
    crop: PositiveInt = 224
    """Side in pixels of the square cut from the centre; published weights were trained at 224."""

    @property
    def exact_frames(self) -> int:
        """The number that `frames` sets."""
        return self.frames

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes as Pillow does, then crops the centre."""
        return Resize("pil_bilinear", short_side=self.short_side, rounding="floor"), Crop(self.crop, "round")

    def network(self) -> TANet:
        """The encoder with random weights, and a classifier of Kinetics-400 unless there is none in `weights`."""
        from actloc.encoders.tanet.network import TANet

        return TANet(self, _KINETICS_CLASSES if self.weights_of == "tanet" else None)

    def network_for(self, weights: Mapping[str, Tensor]) -> TANet:
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        from actloc.encoders.tanet.network import TANet

        return TANet(self, len(weights["fc.weight"]) if "fc.weight" in weights else None)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place."""
        return [published.locate(self.weights, PUBLISHED[self.frames] if self.weights_of == "tanet" else IMAGENET)]

    def build(self) -> TANet:
        """The encoder with the file's weights, and their classifier if they have one; raises UserError."""
        from actloc.encoders.base_network import load_into, same_draws

        (path,) = self.weights_files()
        tensors = self.in_our_names(published.read(path))
        self._check_kind(tensors, path)
        if self.weights_of == "tanet":
            network = self.network_for(tensors)
        else:
            with same_draws():
                network = self.network()
            new = {
                name: tensor
                for name, tensor in network.state_dict().items()
                if _IN_TAM in name or name.endswith(".num_batches_tracked")  # torchvision's older files have none
            }
            tensors = new | {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
        load_into(network, tensors, path)
        return network.eval()

    def for_checkpoint(self, file: Path) -> Self:
        """These settings, whatever training starts from, for a file with all weights of TANet."""
        return self.model_copy(update={"weights": file, "weights_of": "tanet"})

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of an official, mmaction2's or torchvision's file under the names of `TANet`."""
        return {our_name(name): tensor for name, tensor in published.items()}

    def in_published_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under the official names, as in the official checkpoints."""
        return {f"module.{published_name(name)}": tensor for name, tensor in tensors.items()}

    def _check_kind(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Raises UserError if the file has other weights than `weights_of` and `frames` say."""
        has_modules = any(_IN_TAM in name for name in tensors)
        if self.weights_of == "imagenet" and has_modules:
            raise UserError(
                f"{path} has temporal adaptive modules, and features.encoder.weights_of is imagenet.",
                "Expected the weights of a ResNet-50 alone, under torchvision's names.",
                "Set features.encoder.weights_of=tanet",
            )
        if self.weights_of == "tanet" and not has_modules and "layer4.2.bn3.weight" in tensors:
            raise UserError(
                f"{path} has a ResNet-50 without temporal adaptive modules.",
                "Expected all weights of TANet, since features.encoder.weights_of is tanet.",
                "Set the file of a trained TANet: features.encoder.weights=FILE. To train from this one instead, set "
                "features.encoder.weights_of=imagenet",
            )
        first = tensors.get(_FRAMES_SHOWN_BY)
        frames = self.frames if first is None or first.dim() != 2 else first.shape[1]
        if frames != self.frames and frames in PUBLISHED:
            raise UserError(
                f"{path} was trained with {frames} frames, and features.encoder.frames is {self.frames}.",
                "Expected weights for as many frames as a clip has: the temporal kernels depend on their number.",
                f"Set features.encoder.frames={frames}, for clips of {frames} frames",
            )

    @classmethod
    def small(cls) -> Config:
        """Small frames; the network has one width."""
        return cls(short_side=32, crop=32)


def our_name(name: str) -> str:
    """The name that `TANet` has for a tensor of an official, mmaction2's or torchvision's file."""
    for theirs, ours in _OUR_NAMES:
        name = re.sub(theirs, ours, name)
    return name


def published_name(name: str) -> str:
    """The name that official files have for a tensor of `TANet`, after `module.`."""
    if name.startswith("fc."):
        return f"new_{name}"
    name = re.sub(r"^(layer\d\.\d)\.(?!tam)", r"\1.net.", name.removeprefix("stem."))
    return "base_model." + name.replace(".tam.kernel.", ".tam.G.").replace(".tam.importance.", ".tam.L.")
