"""The network of VideoMAE v2."""

import torch
from torch import Tensor, nn

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.videomae2 import FRAMES, PICTURE, SIZES, Config
from actloc.layers.maps import maps_of_tokens
from actloc.layers.positions import sinusoid_table
from actloc.layers.precision import at_least_float32
from actloc.layers.vision_transformer import NORM_EPS, Block

_CUBE_FRAMES = 2
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoMAE2(ClipEncoder):
    """Cubes of 2 frames x patch x patch become tokens; the feature is the normalised mean of the final tokens."""

    clip_multiple = _CUBE_FRAMES
    cpu_batch = 1
    positions: Tensor

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__(config)
        size = SIZES[config.size]
        self.channels = size.dim
        self.normalise = config.normalise
        self.patch = size.patch
        cube = (_CUBE_FRAMES, size.patch, size.patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, size.dim, cube, stride=cube)})
        self.blocks = nn.ModuleList(Block(size.dim, size.num_heads, size.mlp_dim) for _ in range(size.num_blocks))
        self.fc_norm = nn.LayerNorm(size.dim, NORM_EPS)
        self.head = nn.Linear(size.dim, num_classes)
        num_tokens = FRAMES // _CUBE_FRAMES * (PICTURE // size.patch) ** 2
        self.register_buffer("positions", sinusoid_table(num_tokens, size.dim).mT, persistent=False)  # (1, N, C)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, 1) of clips (S, F, H, W, 3)."""
        pixels = self.network_input(clips) / 255  # (S, 3, F, H, W)
        if self.normalise:
            mean, std = (pixels.new_tensor(each)[:, None, None, None] for each in (_IMAGENET_MEAN, _IMAGENET_STD))
            pixels = (pixels - mean) / std
        tokens = self.patch_embed["proj"](pixels).flatten(2).mT  # (S, N, C)
        tokens = tokens + self._positions_of(tokens.shape[1])
        for block in self.blocks:
            tokens = block(tokens)
        return at_least_float32(self.fc_norm(tokens.mean(1)))[:, :, None]

    def stages(self) -> list[list[nn.Module]]:
        """The blocks in four quarters; the cubes' embedding belongs to the first, the final norm to the last."""
        quarter = len(self.blocks) // 4
        quarters: list[list[nn.Module]] = [
            list(self.blocks[start : start + quarter]) for start in range(0, len(self.blocks), quarter)
        ]
        return [[self.patch_embed, *quarters[0]], *quarters[1:-1], [*quarters[-1], self.fc_norm]]

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks."""
        return {f"blocks.{number}": block for number, block in enumerate(self.blocks)}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of tokens (S, N, C)."""
        frames, height, width = clip
        return maps_of_tokens(output, (frames // _CUBE_FRAMES, height // self.patch, width // self.patch))

    def zero_pixel(self) -> Tensor:
        """ImageNet's mean (3,), or black without normalisation."""
        return 255 * torch.tensor(_IMAGENET_MEAN if self.normalise else (0.0, 0.0, 0.0))

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v)."""
        return self.head(features.mean(2))

    def _positions_of(self, num_tokens: int) -> Tensor:
        """Positions (1, N, C): tokens are numbered by time, row and column, for any clip size."""
        if num_tokens > self.positions.shape[1]:
            self.positions = sinusoid_table(num_tokens, self.channels).mT.to(self.positions)
        return self.positions[:, :num_tokens]
