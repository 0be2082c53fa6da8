"""DualFormer: a transformer over windows and a pyramid in turn, in four stages (Liang et al. 2022, arXiv 2112.04674).

Loads the weights that its authors published (sail-sg/dualformer), and those of the same network over pictures. Clips
and features have the sizes of Video Swin's, so that one encoder can take the place of the other.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from actloc.encoders.base import PublishedConfig
from actloc.errors import UserError
from actloc.layers.pyramid_kernels import coarse_kernel, fine_kernel
from actloc.settings.sections import Section, Shapes
from actloc.structures import Axes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.dualformer.network import DualFormer
PATCH_FRAMES, PATCH_PIXELS = 2, (4, 8, 16, 32)  # of a token of each stage
_PUBLISHED_CROP = 224

FourInts = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
OneGrid = tuple[PositiveInt, PositiveInt, PositiveInt]
_WINDOWS: tuple[Axes, Axes, Axes, Axes] = ((8, 7, 7),) * 4
_FINE: tuple[Axes, Axes, Axes, Axes] = ((8, 7, 7), (8, 7, 7), (8, 7, 7), (16, 7, 7))
_COARSE: tuple[Axes, Axes] = ((4, 4, 4), (4, 4, 4))


@dataclass(frozen=True)
class Size:
    """The dimensions of a network that was published, and its file of weights."""

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    drop_path: float
    published: PublishedFile
    windows: tuple[Axes, ...] = _WINDOWS
    fine: tuple[Axes, ...] = _FINE
    coarse: tuple[Axes, ...] = _COARSE


_WHERE = "github.com/sail-sg/dualformer, whose table links it under another name"
SIZES = {
    "tiny": Size(
        (64, 128, 256, 512),
        (2, 2, 10, 4),
        (2, 4, 8, 16),
        0.1,
        PublishedFile("dualformer_tiny_kinetics400.pth", _WHERE, "22 million weights"),
    ),
    "small": Size(
        (96, 192, 384, 768),
        (2, 2, 18, 2),
        (3, 6, 12, 24),
        0.2,
        PublishedFile("dualformer_small_kinetics400.pth", _WHERE, "49 million weights"),
    ),
    "base": Size(
        (128, 256, 512, 1024),
        (2, 2, 18, 2),
        (4, 8, 16, 32),
        0.3,
        PublishedFile("dualformer_base_kinetics400.pth", f"{_WHERE}; also of Kinetics-600", "87 million weights"),
    ),
}


class OwnSize(Section):
    """Width, depth and attention of a network that nobody published."""

    shapes = "features"

    dims: FourInts
    """Channels of each stage."""
    depths: FourInts
    """Blocks of each stage; the first attends to windows, the second to the pyramid, and so on."""
    heads: FourInts
    """Attention heads of each stage, among which its channels are divided."""
    windows: tuple[OneGrid, OneGrid, OneGrid, OneGrid] = _WINDOWS
    """Tokens of a window of each stage along time, height and width. A token of the first stage is 2 frames of 4 x 4
    pixels, of the next ones 2 frames of 8, 16 and 32 pixels squared."""
    fine: tuple[OneGrid, OneGrid, OneGrid, OneGrid] = _FINE
    """Tokens of the pyramid's fine level in each stage; a stage that has no more than these has no pyramid."""
    coarse: tuple[OneGrid, OneGrid] = _COARSE
    """Tokens of its coarse level, which the first two stages have."""

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        for stage, (dim, heads) in enumerate(zip(self.dims, self.heads, strict=True)):
            if dim % heads:
                raise ValueError(
                    f"heads: found {heads}, expected heads that divide the channels of their stage: {heads} does not "
                    f"divide the {dim} of stage {stage}"
                )
        return self


class Config(PublishedConfig):
    """Settings of DualFormer. A `size` of your own has random weights where `weights` is null."""

    size: Literal["tiny", "small", "base"] | OwnSize = "tiny"
    """Width and depth of the network: those of published weights, or your own, such as {dims: [16, 32, 64, 128],
    depths: [2, 2, 2, 2], heads: [1, 2, 4, 8]}, which starts with random weights unless `weights` names a file, the same
    each time. `weights` may be those of the same network over pictures, which are repeated along time."""
    frames: PositiveInt = 32
    """Frames of the clips that the pyramid is made for, and that `weights` were trained with: 32 or 16 if published.
    Other clips have a larger or smaller pyramid."""
    pyramid: Annotated[Literal["file", "new"], Shapes("nothing")] = "file"
    """The weights of the pyramid's convolutions along time, whose shapes depend on `frames`. file: those of `weights`;
    new: drawn at random, the same each time, to train from weights of another number of frames, as the authors do for
    UCF101."""
    mode: Literal["token", "clip"] = "token"
    """token: a vector for every two frames; clip: one vector, their mean."""
    drop_path: Annotated[float | None, Field(ge=0, lt=1), Shapes("weights")] = None
    """Chance that a training step skips a branch of the last block for a clip that the encoder learns from; it rises
    linearly from 0 at the first block. null: as in published training, 0.1, 0.2 and 0.3 by size; 0.1 for your own."""
    resize: Literal["short_side", "square"] = "short_side"
    """short_side: frames keep their aspect ratio, as published; square: the whole frame becomes a square, as with
    TALLFormer's Video Swin."""
    side: PositiveInt = 256
    """Pixels of the frame's short side, or of the square's sides, after resizing."""
    crop: PositiveInt = _PUBLISHED_CROP
    """Side in pixels of the square cut from the centre: a multiple of 224, or of what the windows of your size need.
    The pyramid is made for 224, or for the crop if the size is your own."""
    scaling: Literal["imagenet", "fine_tuned"] = "imagenet"
    """Scaling of pixels: by ImageNet's mean and deviation; or as the published weights for UCF101, HMDB51 and Diving48
    need it, less 104, 117 and 128."""

    @model_validator(mode="after")
    def _windows_cover_the_clips(self) -> Self:
        if self.crop > self.side:
            raise ValueError(f"crop: found {self.crop}, expected at most the {self.side} of side")
        for name, value, multiple in (
            ("frames", self.frames, self.clip_multiple),
            ("crop", self.crop, self.crop_multiple),
        ):
            if value % multiple:
                raise ValueError(
                    f"{name}: found {value}, expected a multiple of {multiple}, which the windows of all stages divide"
                )
        for stage, tokens in enumerate(self.dimensions.coarse):
            grid = self.grids()[stage]
            has_pyramid = self.dimensions.depths[stage] > 1 and fine_kernel(grid, self.dimensions.fine[stage])
            if has_pyramid and coarse_kernel(grid, tokens) is None:
                raise ValueError(
                    f"size.coarse: found {list(tokens)} for stage {stage}, expected at most one token for every "
                    f"1 x 7 x 7 of its {' x '.join(map(str, grid))} tokens"
                )
        return self

    @property
    def clip_multiple(self) -> int:
        """The frames that windows of all stages divide."""
        return PATCH_FRAMES * math.lcm(*(window[0] for window in self.dimensions.windows))

    @property
    def crop_multiple(self) -> int:
        """The pixels of a side that windows of all stages divide."""
        windows = zip(self.dimensions.windows, PATCH_PIXELS, strict=True)
        return math.lcm(*(pixels * side for window, pixels in windows for side in window[1:]))

    @property
    def dimensions(self) -> Size | OwnSize:
        """Width, depth and attention."""
        return self.size if isinstance(self.size, OwnSize) else SIZES[self.size]

    def grids(self) -> list[Axes]:
        """The tokens of each stage, along time, height and width, of the clips that the pyramid is made for."""
        side = self.crop if isinstance(self.size, OwnSize) else _PUBLISHED_CROP
        return [(self.frames // PATCH_FRAMES, side // one, side // one) for one in PATCH_PIXELS]

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes as OpenCV's bilinear method does, then crops the centre."""
        if self.resize == "square":
            return Resize("rounded_bilinear", size=(self.side, self.side)), Crop(self.crop)
        return Resize("rounded_bilinear", short_side=self.side, rounding="nearest"), Crop(self.crop)

    def network(self, num_classes: int | None = None) -> DualFormer:
        """The encoder with random weights, and a classifier if there are classes."""
        from actloc.encoders.dualformer.network import DualFormer

        return DualFormer(self, num_classes)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place; none for a size of your own without one."""
        if not isinstance(self.size, OwnSize):
            return [published.locate(self.weights, SIZES[self.size].published)]
        return [] if self.weights is None else [self.weights]

    def build(self) -> DualFormer:
        """The encoder with published weights, and their classifier if they have one; raises UserError."""
        from actloc.encoders.base_network import load_into, same_draws
        from actloc.weights.official_dualformer import new_pyramid

        path = next(iter(self.weights_files()), None)
        if path is None:
            with same_draws():
                return self.network().eval()
        tensors = self.in_our_names(published.read(path))
        if self.pyramid == "new":
            with same_draws():
                network = self.network_for(tensors)
            tensors |= new_pyramid(network.state_dict(), tensors, path)
        else:
            self._check_frames(tensors, path)
            network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def _check_frames(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Raises UserError if published weights have a pyramid for another number of frames."""
        import torch

        pooled = tensors.get("blocks.0.1.attn.sr.weight", torch.empty(0)).shape[2:3]
        frames = pooled[0] * _FINE[0][0] * PATCH_FRAMES if pooled else self.frames
        if frames != self.frames and isinstance(self.size, str):
            raise UserError(
                f"The pyramid of {path} is made for {frames} frames; features.encoder.frames is {self.frames}.",
                "Expected the frames that the weights were trained with.",
                f"Set features.encoder.frames={frames}. To train from them with {self.frames} frames, set "
                "features.encoder.pyramid=new",
            )

    def for_checkpoint(self, file: Path) -> Self:
        """These settings, whatever training starts from, for a file that has all weights."""
        return self.model_copy(update={"weights": file, "pyramid": "file"})

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names; those of a network over pictures become those of one over clips."""
        import torch

        from actloc.weights.official_dualformer import our_name, over_clips

        named = {our_name(name): tensor for name, tensor in published.items()}
        first = named.get("patch_embeds.0.proj.weight")
        if first is None or first.dim() == 5:
            return named
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in self.network().state_dict().items()}
        return over_clips(named, shapes)

    def in_published_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under the published names."""
        from actloc.weights.official_dualformer import published_name

        return {published_name(name): tensor for name, tensor in tensors.items()}

    def network_for(self, weights: Mapping[str, Tensor]) -> DualFormer:
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        classifier = weights.get("cls_head.fc_cls.weight")
        return self.network(None if classifier is None else len(classifier))

    @classmethod
    def small(cls) -> Config:
        """Few channels and tokens, with windows and pyramids in the first and third stage."""
        size = OwnSize(
            dims=(8, 16, 24, 32),
            depths=(2, 1, 2, 2),
            heads=(1, 2, 3, 4),
            windows=((2, 4, 4), (2, 4, 4), (2, 4, 4), (2, 2, 2)),
            fine=((2, 4, 4), (2, 4, 4), (2, 2, 2), (2, 2, 2)),
            coarse=((1, 2, 2), (1, 1, 1)),
        )
        return cls(size=size, frames=4, side=72, crop=64)
