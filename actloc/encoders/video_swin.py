"""Video Swin: a transformer over windows of space and time, in four stages (Liu et al. 2022, arXiv 2106.13230).

Loads the weights that its authors published (SwinTransformer/Video-Swin-Transformer), and those files as TALLFormer
(Cheng and Bertasius 2022, arXiv 2204.01680) stores them; preprocessing and features are TALLFormer's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base import PublishedConfig
from actloc.encoders.base_network import ClipEncoder, load_into, same_draws
from actloc.layers.drop_path import DropPath
from actloc.layers.mlp import MLP
from actloc.layers.precision import at_least_float32
from actloc.layers.shifted_windows import Axes, Windows, window_offsets
from actloc.settings.sections import Section, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

_PATCH: Axes = (2, 4, 4)
_WINDOW: Axes = (8, 7, 7)
_SHIFT: Axes = (4, 3, 3)
_NUM_OFFSETS = (2 * _WINDOW[0] - 1) * (2 * _WINDOW[1] - 1) * (2 * _WINDOW[2] - 1)
_DROP_PATH = 0.1
_INITIAL_STD = 0.02
_NORMS = {".attn.norm.": ".norm1.", ".mlp.norm.": ".norm2."}
"""Our names of the norms in a block, and the published ones."""
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, pixels between 0 and 255


@dataclass(frozen=True)
class _Size:
    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float
    published: PublishedFile


_WHERE = "github.com/SwinTransformer/storage, release v1.0.4"
_OTHERS = f"{_WHERE}, where also swin_base_patch244_window877_kinetics600_22k.pth is"
SIZES = {
    "tiny": _Size(
        96,
        (2, 2, 6, 2),
        (3, 6, 12, 24),
        _DROP_PATH,
        PublishedFile("swin_tiny_patch244_window877_kinetics400_1k.pth", _WHERE, "28 million weights"),
    ),
    "small": _Size(
        96,
        (2, 2, 18, 2),
        (3, 6, 12, 24),
        _DROP_PATH,
        PublishedFile("swin_small_patch244_window877_kinetics400_1k.pth", _WHERE, "50 million weights"),
    ),
    "base": _Size(
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

    def network(self, num_classes: int | None = None) -> "VideoSwin":
        """The encoder with random weights, and a classifier if there are classes."""
        return VideoSwin(self, num_classes)

    def build(self) -> "VideoSwin":
        """The encoder with published weights, and their classifier if they have one; raises UserError."""
        if isinstance(self.size, OwnSize):
            path = self.weights
        else:
            path = published.locate(self.weights, SIZES[self.size].published)
        if path is None:
            with same_draws():
                return self.network().eval()
        tensors = self.in_our_names(published.read(path))
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names, without tables of offsets and the numbers that TALLFormer does not use."""
        offsets, named = window_offsets(_WINDOW), {}
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

    def network_for(self, weights: Mapping[str, Tensor]) -> "VideoSwin":
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        classifier = weights.get("cls_head.fc_cls.weight")
        return self.network(None if classifier is None else len(classifier))

    @classmethod
    def small(cls) -> "Config":
        """Few channels, and moved windows in the first stage."""
        return cls(size=OwnSize(dim=16, depths=(2, 1, 1, 1), heads=(1, 2, 4, 8)), side=72, crop=64)


class VideoSwin(ClipEncoder):
    """A vector for every two frames: the mean of the final tokens (S, T, H, W, C) over height and width.

    Weights are named as in the published files, without `backbone.`; but a block's norms belong to what they precede.
    """

    clip_multiple = _PATCH[0]
    cpu_batch = 1
    classifier_name = "cls_head.fc_cls"

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size = config.size if isinstance(config.size, OwnSize) else SIZES[config.size]
        dims = [size.dim * 2**stage for stage in range(len(size.depths))]
        self.channels = dims[-1]
        highest = size.drop_path if isinstance(size, _Size) else _DROP_PATH
        if config.drop_path is not None:
            highest = config.drop_path
        rates = [highest * block / (sum(size.depths) - 1) for block in range(sum(size.depths))]
        self.patch_embed = PatchEmbedding(size.dim)
        self.layers = nn.ModuleList(
            Stage(dim, num_heads, [rates.pop(0) for _ in range(depth)], merges=dim != dims[-1])
            for dim, depth, num_heads in zip(dims, size.depths, size.heads, strict=True)
        )
        self.norm = nn.LayerNorm(self.channels)
        if num_classes is not None:
            self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(self.channels, num_classes)})
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=_INITIAL_STD)
            elif name.endswith("bias") and not name.startswith("patch_embed.proj"):
                nn.init.zeros_(weight)
        self.register_buffer("_offsets", window_offsets(_WINDOW), persistent=False)
        self.register_buffer("_mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(_STD).reshape(1, 3, 1, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, F/2) of clips (S, F, H, W, 3)."""
        pixels = (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")
        return at_least_float32(self.tokens(pixels)).mean((2, 3)).mT

    def tokens(self, pixels: Tensor) -> Tensor:
        """The final tokens (S, F/2, H/32, W/32, C) of scaled pixels (S, 3, F, H, W); odd sizes are rounded up."""
        x = self.patch_embed(pixels)
        for stage in self.layers:
            x = stage(x, self.get_buffer("_offsets"))
        return self.norm(x)

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every two frames."""
        return num_frames // _PATCH[0]

    def stages(self) -> list[list[nn.Module]]:
        """The four stages; the patches' embedding belongs to the first, the final norm to the last.

        Attention and MLP of a block are apart, so that checkpointing computes one of them again at a time.
        """
        kinds = (WindowAttention, MLP, PatchMerging)
        stages: list[list[nn.Module]] = [
            [part for part in one.modules() if isinstance(part, kinds)] for one in self.layers
        ]
        return [[self.patch_embed, *stages[0]], *stages[1:-1], [*stages[-1], self.norm]]

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
        """ImageNet's mean (3,)."""
        return self.get_buffer("_mean").flatten()

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v); raises UserError if the weights have no classifier."""
        return self.cls_head["fc_cls"](features.mean(2)) if "cls_head" in self._modules else super().logits(features)


class PatchEmbedding(nn.Module):
    """Patches of 2 frames x 4 x 4 pixels become tokens; where pixels are missing at an end, they are zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, dim, _PATCH, stride=_PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """(S, 3, F, H, W) to (S, F/2, H/4, W/4, C), rounded up."""
        missing = [-length % patch for length, patch in zip(pixels.shape[2:], _PATCH, strict=True)]
        if any(missing):
            pixels = F.pad(pixels, (0, missing[2], 0, missing[1], 0, missing[0]))
        return self.norm(self.proj(pixels).permute(0, 2, 3, 4, 1))


class Stage(nn.Module):
    """Blocks, and the step to half the height and width, except in the last stage."""

    def __init__(self, dim: int, num_heads: int, rates: list[float], *, merges: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, num_heads, rate) for rate in rates)
        self.downsample = PatchMerging(dim) if merges else None

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """(S, T, H, W, C) to (S, T, H/2, W/2, 2 C), rounded up, or to the same shape; `offsets` of the full window."""
        windows = [Windows.over(x.shape, _WINDOW, shift, offsets) for shift in ((0, 0, 0), _SHIFT)]
        for number, block in enumerate(self.blocks):
            x = block(x, windows[number % 2])
        return x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    """Attention and an MLP, each with a shortcut; training steps may skip either."""

    def __init__(self, dim: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, num_heads)
        self.mlp = MLP(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        x = x + self.drop_path(self.attn(x, windows))
        return x + self.drop_path(self.mlp(x))


class WindowAttention(nn.Module):
    """After a norm, the tokens of a window attend to each other, with a learned bias for each offset between two."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(_NUM_OFFSETS, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        mixed = self.qkv(windows.divided(self.norm(x))).unflatten(2, (3, self.num_heads, -1))
        bias = self.relative_position_bias_table.T.index_select(1, windows.offsets)
        bias = bias.reshape(1, self.num_heads, windows.tokens, windows.tokens)
        attended = []
        for (queries, keys, values), mask in windows.groups(mixed.permute(2, 0, 3, 1, 4)):  # (3, W * S, heads, N, dim)
            added = bias if mask is None else bias + mask
            attended.append(F.scaled_dot_product_attention(queries, keys, values, attn_mask=added))
        return self.proj(windows.joined(torch.cat(attended).transpose(1, 2).flatten(2)))


class PatchMerging(nn.Module):
    """Four neighbours in space become one token of twice the channels; missing ones at an end are zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to (S, T, H/2, W/2, 2 C), rounded up."""
        _, _, height, width, _ = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        above, below = x[:, :, ::2], x[:, :, 1::2]
        neighbours = [above[:, :, :, ::2], below[:, :, :, ::2], above[:, :, :, 1::2], below[:, :, :, 1::2]]
        return self.reduction(self.norm(torch.cat(neighbours, 4)))


def published_name(name: str) -> str:
    """The name that published files have for a tensor of `VideoSwin`."""
    for ours, theirs in _NORMS.items():
        name = name.replace(ours, theirs)
    return name if name.startswith("cls_head.") else f"backbone.{name}"
