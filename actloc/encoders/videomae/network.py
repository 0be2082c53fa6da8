"""The network of VideoMAE."""

import itertools
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base import FromStage
from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.videomae import CUBE_FRAMES, FRAMES, PICTURE, Config
from actloc.layers.maps import maps_of_tokens
from actloc.layers.positions import sinusoid_table
from actloc.layers.precision import at_least_float32
from actloc.layers.temporal_adapter import TemporalAdapter
from actloc.layers.vision_transformer import NORM_EPS, Block

_NUM_STAGES = 4
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, pixels between 0 and 255


class VideoMAE(ClipEncoder):
    """Cubes of 2 frames x patch x patch become tokens; a vector is the mean of the final tokens of two frames.

    Weights are named as in the files of VideoMAE's authors.
    """

    clip_multiple = CUBE_FRAMES
    cpu_batch = 1

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size, adapters = config.sizes, config.adapters
        self.channels = size.dim
        self.is_ladder = adapters is not None and adapters.ladder
        self.patch, self.side = size.patch, PICTURE // size.patch
        cube = (CUBE_FRAMES, size.patch, size.patch)
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
        self.register_buffer("_positions", position_table(FRAMES // CUBE_FRAMES, self.side, size.dim), persistent=False)
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
            table = position_table(steps, self.side, self.channels).to(table)
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
        return num_frames // CUBE_FRAMES

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
        return maps_of_tokens(output, (frames // CUBE_FRAMES, height // self.patch, width // self.patch))

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


def position_table(num_steps: int, side: int, dim: int) -> Tensor:
    """The positions (T, C, side, side) of `num_steps` grids of tokens, which are numbered by time, row and column."""
    return sinusoid_table(num_steps * side**2, dim).reshape(dim, num_steps, side, side).transpose(0, 1)
