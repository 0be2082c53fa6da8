"""Video Swin: a transformer over windows of space and time, in four stages (Liu et al. 2022, arXiv 2106.13230).

Loads the weights that its authors published (SwinTransformer/Video-Swin-Transformer), and those files as TALLFormer
(Cheng and Bertasius 2022, arXiv 2204.01680) stores them; preprocessing and features are TALLFormer's.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from actloc.encoders.base import PublishedConfig
from actloc.settings.sections import Section, Shapes
from actloc.structures import Axes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.video_swin.network import VideoSwin
WINDOW: Axes = (8, 7, 7)
DROP_PATH = 0.1
_NORMS = {".attn.norm.": ".norm1.", ".mlp.norm.": ".norm2."}
"""Our names of the norms in a block, and the published ones."""


@dataclass(frozen=True)
class Size:
    """The dimensions of a network that was published, and its file of weights."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float
    published: PublishedFile


_WHERE = "github.com/SwinTransformer/storage, release v1.0.4"
_OTHERS = f"{_WHERE}, where also swin_base_patch244_window877_kinetics600_22k.pth is"
SIZES = {
    "tiny": Size(
        96,
        (2, 2, 6, 2),
        (3, 6, 12, 24),
        DROP_PATH,
        PublishedFile("swin_tiny_patch244_window877_kinetics400_1k.pth", _WHERE, "28 million weights"),
    ),
    "small": Size(
        96,
        (2, 2, 18, 2),
        (3, 6, 12, 24),
        DROP_PATH,
        PublishedFile("swin_small_patch244_window877_kinetics400_1k.pth", _WHERE, "50 million weights"),
    ),
    "base": Size(
        128,
        (2, 2, 18, 2),
        (4, 8, 16, 32),
        0.2,
        PublishedFile("swin_base_patch244_window877_kinetics400_22k.pth", _OTHERS, "88 million weights"),
    ),
}


FourStages = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class OwnSize(Section):
    """Width and depth of a network that nobody published."""

    shapes = "features"

    dim: PositiveInt
    """Channels of the first stage; each later one has twice as many as the one before."""
    depths: FourStages
    """Blocks of each stage; the windows of every second one are moved."""
    heads: FourStages
    """Attention heads of each stage, among which its channels are divided."""

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        for stage, heads in enumerate(self.heads):
            channels = self.dim * 2**stage
            if channels % heads:
                raise ValueError(
                    f"heads: found {heads}, expected heads that divide the channels of their stage: {heads} does not "
                    f"divide the {channels} of stage {stage}"
                )
        return self


class Config(PublishedConfig):
    """Settings of Video Swin. A `size` of your own has random weights where `weights` is null."""

    size: Literal["tiny", "small", "base"] | OwnSize = "base"
    """Width and depth of the network: those of published weights, or your own, such as {dim: 24, depths: [1, 1, 2, 1],
    heads: [1, 2, 4, 8]}, which starts with random weights unless `weights` names a file, the same each time."""
    drop_path: Annotated[float | None, Field(ge=0, lt=1), Shapes("weights")] = None
    """Chance that a training step skips a branch of the last block for a clip that the encoder learns from; it rises
    linearly from 0 at the first block. null: as in published training, 0.2 for base and 0.1 for the others."""
    side: PositiveInt = 256
    """Side in pixels of the square that the whole frame is resized to, ignoring its aspect ratio."""
    crop: PositiveInt = 224
    """Side in pixels of the square cut from the centre; published weights were trained at 224."""

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.side:
            raise ValueError(f"crop {self.crop} is larger than side {self.side}")
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes the whole frame to a square as FFmpeg does, then crops the centre."""
        return Resize("swscale_bicubic", size=(self.side, self.side)), Crop(self.crop)

    def network(self, num_classes: int | None = None) -> VideoSwin:
        """The encoder with random weights, and a classifier if there are classes."""
        from actloc.encoders.video_swin.network import VideoSwin

        return VideoSwin(self, num_classes)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place; none for a size of your own without one."""
        if not isinstance(self.size, OwnSize):
            return [published.locate(self.weights, SIZES[self.size].published)]
        return [] if self.weights is None else [self.weights]

    def build(self) -> VideoSwin:
        """The encoder with published weights, and their classifier if they have one; raises UserError."""
        from actloc.encoders.base_network import load_into, same_draws

        path = next(iter(self.weights_files()), None)
        if path is None:
            with same_draws():
                return self.network().eval()
        tensors = self.in_our_names(published.read(path))
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names, without tables of offsets and the numbers that TALLFormer does not use."""
        import torch

        from actloc.layers.shifted_windows import window_offsets

        offsets, named = window_offsets(WINDOW), {}
        for name, tensor in published.items():
            kind = name.rpartition(".")[2]
            if kind == "dummy_tensor" or (kind == "relative_position_index" and torch.equal(tensor.long(), offsets)):
                continue
            plain = name.removeprefix("backbone.")
            for ours, theirs in _NORMS.items():
                plain = plain.replace(theirs, ours)
            named[plain] = tensor
        return named

    def in_published_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under the published names."""
        return {published_name(name): tensor for name, tensor in tensors.items()}

    def network_for(self, weights: Mapping[str, Tensor]) -> VideoSwin:
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        classifier = weights.get("cls_head.fc_cls.weight")
        return self.network(None if classifier is None else len(classifier))

    @classmethod
    def small(cls) -> Config:
        """Few channels, and moved windows in the first stage."""
        return cls(size=OwnSize(dim=16, depths=(2, 1, 1, 1), heads=(1, 2, 4, 8)), side=72, crop=64)


def published_name(name: str) -> str:
    """The name that published files have for a tensor of `VideoSwin`."""
    for ours, theirs in _NORMS.items():
        name = name.replace(ours, theirs)
    return name if name.startswith("cls_head.") else f"backbone.{name}"
