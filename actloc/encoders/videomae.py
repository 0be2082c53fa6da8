"""VideoMAE with a vector for every two frames, and adapters between its blocks that mix a window's clips (AdaTAD).

The network is VideoMAE's (Tong et al. 2022, arXiv 2203.12602; Wang et al. 2023, arXiv 2303.16727), without its final
norm. Frames, vectors and adapters are AdaTAD's (Liu et al. 2024, arXiv 2311.17241), as its authors train it in OpenTAD.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base import FromStage, PublishedConfig
from actloc.encoders.base_network import ClipEncoder, load_into, same_draws
from actloc.layers.maps import maps_of_tokens
from actloc.layers.positions import sinusoid_table
from actloc.layers.precision import at_least_float32
from actloc.layers.temporal_adapter import TemporalAdapter
from actloc.layers.vision_transformer import NORM_EPS, Block
from actloc.settings.sections import Section, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

_CUBE_FRAMES = 2
_PICTURE, _FRAMES = 224, 16  # of the published weights' training
_DROP_PATH = 0.1
_NUM_STAGES = 4
_ROUNDING = 1e-4  # of a table of sines in a file, which may be in half precision
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, pixels between 0 and 255
_NAMES = {
    "backbone.": "",
    "cls_head.fc_cls.": "head.",
    "patch_embed.projection.": "patch_embed.proj.",
    ".mlp.layers.0.0.": ".mlp.fc1.",
    ".mlp.layers.1.": ".mlp.fc2.",
}
"""Parts of names in mmaction2's files, and VideoMAE's own ones, which are ours."""


@dataclass(frozen=True)
class _Size:
    dim: int
    blocks: int
    heads: int
    patch: int
    mlp_dim: int
    published: PublishedFile


_MMACTION2 = "github.com/open-mmlab/mmaction2, configs/recognition/videomae"
_OPENTAD = "github.com/sming256/OpenTAD, configs/adatad, which converted it to mmaction2's names"
_ZOO = "github.com/OpenGVLab/VideoMAEv2, docs/MODEL_ZOO.md, for which its authors ask a form"


def _kinetics(network: str, end: str, where: str, size: str) -> PublishedFile:
    return PublishedFile(f"{network}_videomae-k400-pre_16x4x1_kinetics-400_{end}.pth", where, size)


SIZES = {
    "small": _Size(384, 12, 6, 16, 1536, _kinetics("vit-small-p16", "my", _OPENTAD, "22 million weights")),
    "base": _Size(
        768, 12, 12, 16, 3072, _kinetics("vit-base-p16", "20221013-860a3cd3", _MMACTION2, "86 million weights")
    ),
    "large": _Size(
        1024, 24, 16, 16, 4096, _kinetics("vit-large-p16", "20221013-229dbb03", _MMACTION2, "304 million weights")
    ),
    "huge": _Size(1280, 32, 16, 16, 5120, _kinetics("vit-huge-p16", "my", _OPENTAD, "632 million weights")),
    "giant": _Size(
        1408, 40, 16, 14, 6144, PublishedFile("vit_g_hybrid_pt_1200e_k710_ft.pth", _ZOO, "1,012 million weights")
    ),
}


class OwnSize(Section):
    """Width and depth of a network that nobody published."""

    shapes = "features"

    dim: PositiveInt
    """Channels of every block; its MLP has four times as many."""
    blocks: PositiveInt
    """Number of blocks."""
    heads: PositiveInt
    """Attention heads, among which the channels are divided."""
    patch: Annotated[int, Field(ge=1, le=_PICTURE)] = 16
    """Side in pixels of the square that becomes a token, with the same one in the next frame."""

    @property
    def mlp_dim(self) -> int:
        """Channels inside the MLP."""
        return 4 * self.dim

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads: found {self.heads}, expected heads that divide the {self.dim} channels")
        return self


class FromBlock(Section):
    """The blocks that have an adapter."""

    shapes = "features"

    from_block: NonNegativeInt
    """The first of them; blocks are counted from 0, and all later ones have an adapter too."""


class Adapters(Section):
    """Where adapters are and how wide."""

    shapes = "features"

    blocks: Literal["all"] | tuple[NonNegativeInt, ...] | FromBlock = "all"
    """The blocks with an adapter: all, a list of their numbers from 0, or {from_block: 20}, those from 20 on."""
    width: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Channels inside an adapter, as a share of the network's."""
    ladder: bool = False
    """Place the adapters beside the network, which then runs without gradient: each reads what its block gives, and
    the sum of all is added to what the last block gives. It needs the memory of the adapters only. Parity unproven: no
    output of the authors' code was recorded."""

    def numbers(self, num_blocks: int) -> range | tuple[int, ...]:
        """The numbers of the blocks with an adapter."""
        if isinstance(self.blocks, tuple):
            return self.blocks
        return range(0 if self.blocks == "all" else self.blocks.from_block, num_blocks)


class Config(PublishedConfig):
    """Settings of VideoMAE for detection. A `size` of your own has random weights where `weights` is null."""

    size: Literal["small", "base", "large", "huge", "giant"] | OwnSize = "base"
    """Width and depth of the network: those of published weights, or your own, such as {dim: 48, blocks: 4, heads: 4},
    which starts with random weights unless `weights` names a file, the same each time. With adapters, parity is
    unproven for every size but small, whose outputs equal the authors'."""
    adapters: Adapters | None = None
    """Small networks after the blocks, through which each clip sees its neighbours: {} puts one after every block, as
    AdaTAD does. Then all clips of a window are encoded together, and only the adapters learn unless `trainable` says
    otherwise. null: none, and each clip is encoded on its own."""
    drop_path: Annotated[float, Field(ge=0, lt=1), Shapes("weights")] = _DROP_PATH
    """Chance that a training step skips a branch of the last block for a clip that the encoder learns from; it rises
    linearly from 0 at the first block. Blocks of which nothing learns, their adapter included, skip none."""
    short_side: PositiveInt = 160
    """Pixels of the short side after resizing; the long side keeps the aspect ratio."""
    crop: PositiveInt = 160
    """Side in pixels of the square cut from the centre. Published weights were trained at 224: for other sizes the
    positions are resized, and pixels beyond the last whole patch are not seen."""

    @classmethod
    def expanded(cls, block: dict[str, Any]) -> dict[str, Any]:  # Any: not yet checked
        """Where there are adapters, they alone learn, unless the block says otherwise."""
        return block if block.get("adapters") is None else {"trainable": "adapters", **block}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        size, adapters = self.sizes, self.adapters
        if self.crop < size.patch:
            raise ValueError(f"crop: found {self.crop}, expected at least the {size.patch} pixels of a patch")
        if adapters is None:
            return self
        numbers = adapters.numbers(size.blocks)
        if not numbers or max(numbers) >= size.blocks or len(set(numbers)) < len(numbers):
            found = adapters.blocks.from_block if isinstance(adapters.blocks, FromBlock) else list(numbers)
            raise ValueError(
                f"adapters.blocks: found {found}, expected different numbers below {size.blocks}, the number of blocks"
            )
        if int(size.dim * adapters.width) < 1:
            raise ValueError(f"adapters.width: found {adapters.width:g}, which leaves none of the {size.dim} channels")
        if adapters.ladder and self.trainable not in ("adapters", "none"):
            raise ValueError(
                f"trainable: found {self.trainable}, expected adapters or none, because the network runs without "
                "gradient beside adapters.ladder"
            )
        if adapters.ladder and self.drop_path != _DROP_PATH:
            raise ValueError(f"drop_path: found {self.drop_path:g}, which has no effect because adapters.ladder is set")
        return self

    @property
    def sizes(self) -> _Size | OwnSize:
        """Width and depth."""
        return self.size if isinstance(self.size, OwnSize) else SIZES[self.size]

    @property
    def has_adapters(self) -> bool:
        """Whether there are adapters, which can learn alone."""
        return self.adapters is not None

    @property
    def mixes_clips(self) -> bool:
        """Whether there are adapters: they mix the clips of a window."""
        return self.has_adapters

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes the short side, then crops the centre."""
        return Resize("rounded_bilinear", short_side=self.short_side, rounding="nearest"), Crop(self.crop)

    def network(self, num_classes: int | None = None) -> "VideoMAE":
        """The encoder with random weights, and a classifier if there are classes."""
        return VideoMAE(self, num_classes)

    def build(self) -> "VideoMAE":
        """The encoder with published weights, and their classifier if they have one; raises UserError.

        What no file has is drawn, the same in every process: adapters, and a network of your own size.
        """
        if isinstance(self.size, OwnSize):
            path = self.weights
        else:
            path = published.locate(self.weights, SIZES[self.size].published)
        tensors = {} if path is None else self.in_our_names(published.read(path))
        with same_draws():
            network = self.network_for(tensors)
        if path is not None:
            own = {name: one for name, one in network.state_dict().items() if ".adapter." in name}
            load_into(network, tensors if own.keys() & tensors.keys() else {**own, **tensors}, path)
        return network.eval()

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names, without the table of positions if it is the usual one."""
        usual = _table(_FRAMES // _CUBE_FRAMES, _PICTURE // self.sizes.patch, self.sizes.dim)
        usual = usual.permute(0, 2, 3, 1).reshape(1, -1, self.sizes.dim)
        named = {}
        for name, tensor in published.items():
            own = name
            for theirs, ours in _NAMES.items():
                own = own.replace(theirs, ours)
            is_table = own == "pos_embed" and tensor.shape == usual.shape
            if not is_table or not torch.allclose(tensor.float(), usual, atol=_ROUNDING):
                named[own] = tensor
        return named

    def network_for(self, weights: Mapping[str, Tensor]) -> "VideoMAE":
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        return self.network(len(weights["head.weight"]) if "head.weight" in weights else None)

    @classmethod
    def small(cls) -> "Config":
        """Few channels, and positions that are resized; adapters would mix what the contract tests compare apart."""
        return cls(size=OwnSize(dim=32, blocks=4, heads=2), short_side=48, crop=48)


class VideoMAE(ClipEncoder):
    """Cubes of 2 frames x patch x patch become tokens; a vector is the mean of the final tokens of two frames.

    Weights are named as in the files of VideoMAE's authors.
    """

    clip_multiple = _CUBE_FRAMES
    cpu_batch = 1

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size, adapters = config.sizes, config.adapters
        self.channels = size.dim
        self.is_ladder = adapters is not None and adapters.ladder
        self.patch, self.side = size.patch, _PICTURE // size.patch
        cube = (_CUBE_FRAMES, size.patch, size.patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, size.dim, cube, stride=cube)})
        self.blocks = nn.ModuleList(AdaptedBlock(size.dim, size.heads, size.mlp_dim) for _ in range(size.blocks))
        if adapters is not None:
            for number in adapters.numbers(size.blocks):
                self.blocks[number].adapter = TemporalAdapter(size.dim, int(size.dim * adapters.width))
        self.rates = [config.drop_path * number / (size.blocks - 1) for number in range(size.blocks)]
        """Chance of skipping a branch of each block."""
        self._drops = False
        self.fc_norm = nn.LayerNorm(size.dim, NORM_EPS)
        if num_classes is not None:
            self.head = nn.Linear(size.dim, num_classes)
        self.register_buffer("_positions", _table(_FRAMES // _CUBE_FRAMES, self.side, size.dim), persistent=False)
        self.register_buffer("_mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(_STD).reshape(1, 3, 1, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, F/2) of clips (S, F, H, W, 3); with adapters, of all clips of one window in order."""
        pixels = (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")
        return at_least_float32(self.tokens(pixels)).mean((2, 3)).mT

    def tokens(self, pixels: Tensor) -> Tensor:
        """The final tokens (S, F/2, H/patch, W/patch, C) of scaled pixels (S, 3, F, H, W), rounded down."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_ladder):
            embedded = self.patch_embed["proj"](pixels)
            grid = embedded.shape[2:]
            tokens = embedded.flatten(2).mT + self._positions_of(*grid)  # (S, N, C)
        if self.is_ladder:
            tokens = self._beside(tokens, grid[0])
        else:
            for block, factors in zip(self.blocks, self._factors(len(tokens)), strict=True):
                tokens = block(tokens, factors, grid[0])
        return tokens.reshape(len(tokens), *grid, self.channels)

    def _beside(self, tokens: Tensor, num_steps: int) -> Tensor:
        """The tokens (S, N, C) after all blocks, which run without gradient, and what the adapters make of each."""
        added: Tensor | float = 0.0
        for block in self.blocks:
            assert isinstance(block, AdaptedBlock)
            with torch.no_grad():
                tokens = block(tokens)
            if block.adapter is not None:
                added = added + block.adapter(tokens, num_steps)
        return tokens + added

    def _positions_of(self, steps: int, height: int, width: int) -> Tensor:
        """Positions (1, N, C) of a grid of tokens: those of 224 x 224 pixels, resized in each step."""
        table = self.get_buffer("_positions")
        if steps > len(table):
            table = _table(steps, self.side, self.channels).to(table)
        table = table[:steps]
        if (height, width) != table.shape[2:]:
            table = F.interpolate(table, size=(height, width), mode="bicubic", align_corners=False)
        return table.permute(0, 2, 3, 1).reshape(1, -1, self.channels)

    def _factors(self, num_clips: int) -> list[Tensor | None]:
        """For each block the factors of its branches: where it skips them at random, 0 or more than 1."""
        factors: list[Tensor | None] = []
        for block, rate in zip(self.blocks, self.rates, strict=True):
            if not self._drops or rate == 0 or not any(weight.requires_grad for weight in block.parameters()):
                factors.append(None)
                continue
            draws = torch.rand(2, num_clips, 1, 1, device=self.device)
            factors.append((draws >= rate).to(self.dtype) / (1 - rate))
        return factors

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every two frames."""
        return num_frames // _CUBE_FRAMES

    def stages(self) -> list[list[nn.Module]]:
        """The blocks in four quarters, some of them empty if there are fewer; the cubes' embedding is in the first.

        In a ladder, adapters are apart from their blocks, which run without gradient.
        """
        count = len(self.blocks)
        borders = [count * number // _NUM_STAGES for number in range(_NUM_STAGES + 1)]
        stages: list[list[nn.Module]] = [list(self.blocks[start:end]) for start, end in itertools.pairwise(borders)]
        if self.is_ladder:
            stages = [[*stage, *_adapters_in(stage)] for stage in stages]
        return [[self.patch_embed, *stages[0]], *stages[1:]]

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks; in a ladder, where these run without gradient, the adapters."""
        layers = _adapters_in(self.blocks) if self.is_ladder else list(self.blocks)
        return {name: module for name, module in self.named_modules() if module in layers}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of tokens (S, N, C)."""
        frames, height, width = clip
        return maps_of_tokens(output, (frames // _CUBE_FRAMES, height // self.patch, width // self.patch))

    def set_trainable(self, trainable: Literal["all", "none", "adapters"] | FromStage) -> None:
        """Leaves gradients to the weights that learn; raises UserError for a stage that does not exist."""
        super().set_trainable("none" if trainable == "adapters" else trainable)
        for adapter in _adapters_in(self.blocks) if trainable == "adapters" else ():
            adapter.requires_grad_(True)

    def drop_branches(self, is_on: bool) -> None:
        """Switches the stochastic depth of the blocks that learn; `tokens` draws for all of them beforehand."""
        self._drops = is_on

    def zero_pixel(self) -> Tensor:
        """ImageNet's mean (3,)."""
        return self.get_buffer("_mean").flatten()

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v), after the final norm; raises UserError without a classifier."""
        return self.head(self.fc_norm(features.mean(2))) if "head" in self._modules else super().logits(features)


class AdaptedBlock(Block):
    """A block that may have an adapter after it."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__(dim, num_heads, mlp_dim)
        self.adapter: TemporalAdapter | None = None

    def forward(self, tokens: Tensor, factors: Tensor | None = None, num_steps: int | None = None) -> Tensor:
        """(S, N, C) to (S, N, C); the adapter is used where clips have `num_steps` steps of time, and not for None."""
        tokens = super().forward(tokens, factors)
        if self.adapter is None or num_steps is None:
            return tokens
        return tokens + self.adapter(tokens, num_steps)


def _adapters_in(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    return [block.adapter for block in blocks if isinstance(block, AdaptedBlock) and block.adapter is not None]


def _table(num_steps: int, side: int, dim: int) -> Tensor:
    """The positions (T, C, side, side) of `num_steps` grids of tokens, which are numbered by time, row and column."""
    return sinusoid_table(num_steps * side**2, dim).reshape(dim, num_steps, side, side).transpose(0, 1)
