"""VideoMAE with a vector for every two frames, and adapters between its blocks that mix a window's clips (AdaTAD).

The network is VideoMAE's (Tong et al. 2022, arXiv 2203.12602; Wang et al. 2023, arXiv 2303.16727), without its final
norm. Frames, vectors and adapters are AdaTAD's (Liu et al. 2024, arXiv 2311.17241), as its authors train it in OpenTAD.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from actloc.encoders.base import PublishedConfig
from actloc.settings.sections import Section, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.videomae.network import VideoMAE

CUBE_FRAMES = 2
PICTURE, FRAMES = 224, 16  # of the published weights' training
_DROP_PATH = 0.1
_ROUNDING = 1e-4  # of a table of sines in a file, which may be in half precision
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
    patch: Annotated[int, Field(ge=1, le=PICTURE)] = 16
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

    def network(self, num_classes: int | None = None) -> VideoMAE:
        """The encoder with random weights, and a classifier if there are classes."""
        from actloc.encoders.videomae.network import VideoMAE

        return VideoMAE(self, num_classes)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place; none for a size of your own without one."""
        if not isinstance(self.size, OwnSize):
            return [published.locate(self.weights, SIZES[self.size].published)]
        return [] if self.weights is None else [self.weights]

    def build(self) -> VideoMAE:
        """The encoder with published weights, and their classifier if they have one; raises UserError.

        What no file has is drawn, the same in every process: adapters, and a network of your own size.
        """
        from actloc.encoders.base_network import load_into, same_draws

        path = next(iter(self.weights_files()), None)
        tensors = {} if path is None else self.in_our_names(published.read(path))
        with same_draws():
            network = self.network_for(tensors)
        if path is not None:
            own = {name: one for name, one in network.state_dict().items() if ".adapter." in name}
            load_into(network, tensors if own.keys() & tensors.keys() else {**own, **tensors}, path)
        return network.eval()

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names, without the table of positions if it is the usual one."""
        import torch

        from actloc.encoders.videomae.network import position_table

        usual = position_table(FRAMES // CUBE_FRAMES, PICTURE // self.sizes.patch, self.sizes.dim)
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

    def network_for(self, weights: Mapping[str, Tensor]) -> VideoMAE:
        """The encoder with random weights, and a classifier of as many classes as that of these, if they have one."""
        return self.network(len(weights["head.weight"]) if "head.weight" in weights else None)

    @classmethod
    def small(cls) -> Config:
        """Few channels, and positions that are resized; adapters would mix what the contract tests compare apart."""
        return cls(size=OwnSize(dim=32, blocks=4, heads=2), short_side=48, crop=48)
