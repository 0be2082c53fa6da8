"""DualFormer: a transformer over windows and a pyramid in turn, in four stages (Liang et al. 2022, arXiv 2112.04674).

Loads the weights that its authors published (sail-sg/dualformer), and those of the same network over pictures. Clips
and features have the sizes of Video Swin's, so that one encoder can take the place of the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from actloc.encoders.base import PublishedConfig
from actloc.encoders.base_network import ClipEncoder, load_into, same_draws
from actloc.errors import UserError
from actloc.layers.global_pyramid import (
    Axes,
    Block,
    Blocks,
    LocalAttention,
    PatchEmbedding,
    PositionGenerator,
    PyramidAttention,
    coarse_kernel,
    fine_kernel,
)
from actloc.layers.mlp import MLP
from actloc.settings.sections import Section, Shapes
from actloc.structures import Factors
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.official_dualformer import new_pyramid, our_name, over_clips, published_name
from actloc.weights.published import PublishedFile

_PATCHES: tuple[Axes, ...] = ((2, 4, 4), (1, 2, 2), (1, 2, 2), (1, 2, 2))
_PATCH_FRAMES, _PATCH_PIXELS = 2, (4, 8, 16, 32)  # of a token of each stage
_PUBLISHED_CROP = 224
_OWN_DROP_PATH = 0.1
_INITIAL_STD = 0.02
_SCALINGS = {  # mean and standard deviation of pixels between 0 and 255
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "fine_tuned": ((104.0, 117.0, 128.0), (1.0, 1.0, 1.0)),
}

FourInts = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
OneGrid = tuple[PositiveInt, PositiveInt, PositiveInt]
_WINDOWS: tuple[Axes, Axes, Axes, Axes] = ((8, 7, 7),) * 4
_FINE: tuple[Axes, Axes, Axes, Axes] = ((8, 7, 7), (8, 7, 7), (8, 7, 7), (16, 7, 7))
_COARSE: tuple[Axes, Axes] = ((4, 4, 4), (4, 4, 4))


@dataclass(frozen=True)
class _Size:
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
    "tiny": _Size(
        (64, 128, 256, 512),
        (2, 2, 10, 4),
        (2, 4, 8, 16),
        0.1,
        PublishedFile("dualformer_tiny_kinetics400.pth", _WHERE, "22 million weights"),
    ),
    "small": _Size(
        (96, 192, 384, 768),
        (2, 2, 18, 2),
        (3, 6, 12, 24),
        0.2,
        PublishedFile("dualformer_small_kinetics400.pth", _WHERE, "49 million weights"),
    ),
    "base": _Size(
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
        return _PATCH_FRAMES * math.lcm(*(window[0] for window in self.dimensions.windows))

    @property
    def crop_multiple(self) -> int:
        """The pixels of a side that windows of all stages divide."""
        windows = zip(self.dimensions.windows, _PATCH_PIXELS, strict=True)
        return math.lcm(*(pixels * side for window, pixels in windows for side in window[1:]))

    @property
    def dimensions(self) -> "_Size | OwnSize":
        """Width, depth and attention."""
        return self.size if isinstance(self.size, OwnSize) else SIZES[self.size]

    def grids(self) -> list[Axes]:
        """The tokens of each stage, along time, height and width, of the clips that the pyramid is made for."""
        side = self.crop if isinstance(self.size, OwnSize) else _PUBLISHED_CROP
        return [(self.frames // _PATCH_FRAMES, side // one, side // one) for one in _PATCH_PIXELS]

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes as OpenCV's bilinear method does, then crops the centre."""
        if self.resize == "square":
            return Resize("rounded_bilinear", size=(self.side, self.side)), Crop(self.crop)
        return Resize("rounded_bilinear", short_side=self.side, rounding="nearest"), Crop(self.crop)

    def network(self, num_classes: int | None = None) -> "DualFormer":
        """The encoder with random weights, and a classifier if there are classes."""
        return DualFormer(self, num_classes)

    def build(self) -> "DualFormer":
        """The encoder with published weights, and their classifier if they have one; raises UserError."""
        if isinstance(self.size, OwnSize):
            path = self.weights
        else:
            path = published.locate(self.weights, SIZES[self.size].published)
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
        pooled = tensors.get("blocks.0.1.attn.sr.weight", torch.empty(0)).shape[2:3]
        frames = pooled[0] * _FINE[0][0] * _PATCH_FRAMES if pooled else self.frames
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
        named = {our_name(name): tensor for name, tensor in published.items()}
        first = named.get("patch_embeds.0.proj.weight")
        if first is None or first.dim() == 5:
            return named
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in self.network().state_dict().items()}
        return over_clips(named, shapes)

    def in_published_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under the published names."""
        return {published_name(name): tensor for name, tensor in tensors.items()}

    def network_for(self, weights: Mapping[str, Tensor]) -> "DualFormer":
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        classifier = weights.get("cls_head.fc_cls.weight")
        return self.network(None if classifier is None else len(classifier))

    @classmethod
    def small(cls) -> "Config":
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


class DualFormer(ClipEncoder):
    """A vector for every two frames, or for the clip: the mean of the final tokens (S, T, H, W, C).

    Weights are named as in the published files, without `backbone.`; but a block's norms belong to what they precede.
    """

    cpu_batch = 1
    classifier_name, classifier_std = "cls_head.fc_cls", 0.01
    config: Config

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size, grids = config.dimensions, config.grids()
        self.clip_multiple = config.clip_multiple
        self.channels = size.dims[-1]
        highest = size.drop_path if isinstance(size, _Size) else _OWN_DROP_PATH
        if config.drop_path is not None:
            highest = config.drop_path
        rates = [highest * block / max(sum(size.depths) - 1, 1) for block in range(sum(size.depths))]
        self.patch_embeds, self.blocks, self.pos_block = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before, pooled_frames = 3, [1]
        for stage, (dim, heads, grid) in enumerate(zip(size.dims, size.heads, grids, strict=True)):
            fine = fine_kernel(grid, size.fine[stage])
            coarse = coarse_kernel(grid, size.coarse[stage]) if stage < len(size.coarse) else None
            self.patch_embeds.append(PatchEmbedding(before, dim, _PATCHES[stage]))
            blocks = Blocks()
            for number in range(size.depths[stage]):
                attention: nn.Module = LocalAttention(dim, heads, size.windows[stage])
                if number % 2:
                    attention = PyramidAttention(dim, heads, fine, coarse)
                blocks.append(Block(attention, MLP(dim), rates.pop(0)))
            self.blocks.append(blocks)
            self.pos_block.append(PositionGenerator(dim))
            before, pooled_frames = dim, [*pooled_frames, *(kernel[0] for kernel in (fine, coarse) if kernel)]
        self._least_frames = max(self.clip_multiple, _PATCH_FRAMES * max(pooled_frames))
        self._least_pixels = grids[0][1] * _PATCH_PIXELS[0]
        self.norm = nn.LayerNorm(self.channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
                nn.init.zeros_(module.bias)
        if num_classes is not None:
            classifier = nn.Linear(self.channels, num_classes)
            nn.init.normal_(classifier.weight, std=self.classifier_std)
            nn.init.zeros_(classifier.bias)
            self.cls_head = nn.ModuleDict({"fc_cls": classifier})
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1, 1) for values in _SCALINGS[config.scaling])
        self.register_buffer("_mean", mean, persistent=False)
        self.register_buffer("_std", std, persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, F/2), or (S, C, 1) in the mode `clip`, of clips (S, F, H, W, 3); raises UserError."""
        return self.pooled(self.feature_map(clips), clips.shape[1])

    def feature_map(self, clips: Tensor) -> Tensor:
        """The final tokens (S, C, F/2, H/32, W/32) of clips (S, F, H, W, 3); raises UserError."""
        pixels = (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")
        return self.tokens(pixels).permute(0, 4, 1, 2, 3)

    def tokens(self, pixels: Tensor) -> Tensor:
        """The final tokens (S, F/2, H/32, W/32, C) of scaled pixels (S, 3, F, H, W).

        Raises UserError for clips that the windows do not cover, or that are too small for the pyramid.
        """
        frames, height, width = pixels.shape[2:]
        multiple, shortest = self.config.crop_multiple, min(height, width)
        is_covered = not (frames % self.clip_multiple or height % multiple or width % multiple)
        if not is_covered or frames < self._least_frames or shortest < self._least_pixels:
            raise UserError(
                f"The encoder {self.config.name} was given clips of {frames} frames of {width} x {height} pixels.",
                f"Expected a multiple of {self.clip_multiple} frames, {self._least_frames} or more, and of {multiple} "
                f"pixels a side, {self._least_pixels} or more.",
                f"Choose clips of {self.config.frames} frames, and set features.encoder.crop={self.config.crop}",
            )
        x = pixels.permute(0, 2, 3, 4, 1)
        for embed, blocks, positions in zip(self.patch_embeds, self.blocks, self.pos_block, strict=True):
            x = blocks(embed(x), positions)
        return self.norm(x)

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every two frames, or one in the mode `clip`."""
        return num_frames // _PATCH_FRAMES if self.config.mode == "token" else 1

    def stages(self) -> list[list[nn.Module]]:
        """The four stages; the final norm belongs to the last.

        Attention and MLP of a block are apart, so that checkpointing computes one of them again at a time.
        """
        kinds = (LocalAttention, PyramidAttention, MLP)
        stages: list[list[nn.Module]] = [
            [embed, positions, *(part for part in blocks.modules() if isinstance(part, kinds))]
            for embed, blocks, positions in zip(self.patch_embeds, self.blocks, self.pos_block, strict=True)
        ]
        return [*stages[:-1], [*stages[-1], self.norm]]

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Block)}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of tokens (S, T, H, W, C)."""
        return output.permute(0, 4, 1, 2, 3)

    def drop_branches(self, is_on: bool) -> None:
        """Switches the stochastic depth of the blocks that learn."""
        for block in [module for module in self.modules() if isinstance(module, Block)]:
            block.drop_path.train(is_on and any(weight.requires_grad for weight in block.parameters()))

    def zero_pixel(self) -> Tensor:
        """The mean (3,) of the scaling."""
        return self.get_buffer("_mean").flatten()

    def published_factors(self, *, is_continued: bool = False) -> dict[str, Factors]:
        """The classifier and the positions learn ten times as fast as the rest; positions do not decay, norms do.

        The authors' rule for norms never applies: of several rules that fit a name, mmcv uses the longest alone.
        """
        factors = dict.fromkeys(("classifier.weight", "classifier.bias"), Factors(1.0, 1.0))
        for name, _ in self.named_parameters():
            factors[name] = Factors(1.0, 0.0) if name.startswith("pos_block.") else Factors(0.1, 1.0)
        return factors

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v); raises UserError if the weights have no classifier."""
        return self.cls_head["fc_cls"](features.mean(2)) if "cls_head" in self._modules else super().logits(features)
