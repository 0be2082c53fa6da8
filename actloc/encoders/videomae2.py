"""VideoMAE v2: a plain vision transformer over cubes of video (Wang et al., 2023, arXiv 2303.16727).

Features and preprocessing are those of its authors' script for temporal action localization (OpenGVLab/VideoMAEv2).
Checkpoints of VideoMAE (v1) that were fine-tuned for classification have the same names and can be loaded as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from actloc.encoders.base import PublishedConfig
from actloc.encoders.base_network import ClipEncoder, load_into
from actloc.layers.maps import maps_of_tokens
from actloc.layers.positions import sinusoid_table
from actloc.layers.precision import at_least_float32
from actloc.layers.vision_transformer import NORM_EPS, Block
from actloc.video.frame_transforms import FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

_CUBE_FRAMES = 2
_PICTURE, _FRAMES = 224, 16  # of the published weights' training
_KINETICS_CLASSES = 710  # of Kinetics-400, -600 and -700 combined
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class _Size:
    dim: int
    num_blocks: int
    num_heads: int
    patch: int
    mlp_dim: int
    published: PublishedFile


_ZOO = "github.com/OpenGVLab/VideoMAEv2, docs/MODEL_ZOO.md"
_UNNAMED = "github.com/OpenGVLab/VideoMAEv2 or github.com/MCG-NJU/VideoMAE, under another name"
SIZES = {
    "small": _Size(384, 12, 6, 16, 1536, PublishedFile("vit_s_k710_dl_from_giant.pth", _ZOO, "22 million weights")),
    "base": _Size(768, 12, 12, 16, 3072, PublishedFile("vit_b_k710_dl_from_giant.pth", _ZOO, "87 million weights")),
    # The names and shapes of large and huge were not compared with official files; those of the others were.
    "large": _Size(1024, 24, 16, 16, 4096, PublishedFile("videomae2_large.pth", _UNNAMED, "305 million weights")),
    "huge": _Size(1280, 32, 16, 16, 5120, PublishedFile("videomae2_huge.pth", _UNNAMED, "633 million weights")),
    "giant": _Size(
        1408, 40, 16, 14, 6144, PublishedFile("vit_g_hyrbid_pt_1200e_k710_ft.pth", _ZOO, "1,013 million weights")
    ),
}


class Config(PublishedConfig):
    """Settings of VideoMAE v2."""

    size: Literal["small", "base", "large", "huge", "giant"] = "giant"
    """Width and depth of the network; the published features come from giant."""
    normalise: bool = False
    """Normalise with ImageNet's mean and standard deviation, as in training; the published features do not."""

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes to 224 x 224, ignoring the aspect ratio."""
        return (Resize("bilinear", size=(_PICTURE, _PICTURE)),)

    def network(self, num_classes: int = _KINETICS_CLASSES) -> "VideoMAE2":
        """The encoder with random weights."""
        return VideoMAE2(self, num_classes)

    def build(self) -> "VideoMAE2":
        """The encoder with its published weights and a classifier of their classes; raises UserError."""
        path = published.locate(self.weights, SIZES[self.size].published)
        tensors = published.read(path)
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def network_for(self, weights: Mapping[str, Tensor]) -> "VideoMAE2":
        """The encoder with random weights and a classifier of as many classes as that of these."""
        return self.network(len(weights["head.weight"]) if "head.weight" in weights else _KINETICS_CLASSES)

    @classmethod
    def small(cls) -> "Config":
        """The smallest published size."""
        return cls(size="small")


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
        num_tokens = _FRAMES // _CUBE_FRAMES * (_PICTURE // size.patch) ** 2
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
