"""TALLFormer: attention over short windows of features, and anchors on a pyramid (Cheng and Bertasius, 2022).

The paper is arXiv 2204.01680; this is its detector for THUMOS14. The one for ActivityNet is `afsd`.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from actloc.detectors.base import DetectorConfig
from actloc.errors import UserError
from actloc.settings.sections import Shapes

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.detectors.tallformer.network import TallFormer


class Config(DetectorConfig):
    """Settings of TALLFormer; the defaults are those of THUMOS14 with Video Swin.

    It works on windows of `features.max_steps` steps, in training and evaluation (`features.window_steps`). Shorter
    windows are padded, and the padding is not masked: what the encoder makes of it takes part, as officially.
    """

    ignores_unlabelled: ClassVar[bool] = True

    dim: PositiveInt = 512
    """Channels of the shortened sequence and of every level of the pyramid."""
    consistency_layers: PositiveInt = 3
    """Transformer layers before the pyramid, which see the whole window."""
    consistency_heads: PositiveInt = 16
    """Attention heads of these layers; they share the channels evenly."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance that a residual branch of these layers is left out."""
    windows: tuple[PositiveInt, ...] = (7, 7, 5, 5)
    """For each level of the pyramid after the first: the positions that attention sees; odd."""
    num_heads: PositiveInt = 8
    """Attention heads of the pyramid."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped in the pyramid."""
    head_dim: PositiveInt = 256
    """Channels of the top-down path and of the heads."""
    head_layers: PositiveInt = 4
    """Convolutions of each head before the last one."""
    norm_statistics: Literal["batch", "fixed"] = "batch"
    """What batch norm uses in training: the statistics of the batch of each pass, which several processes can share on
    GPUs only, or the stored ones, which then stay as they are."""

    anchors_per_position: PositiveInt = 5
    """Anchors of each position; their lengths grow up to those of the next level."""
    anchor_scale: PositiveFloat = 2.0
    """Length of the shortest anchor of a level, in steps from one of its positions to the next."""
    negative_tiou: float = Field(default=0.4, ge=0, le=1)
    """Anchors that overlap every action by less than this learn that there is none."""
    positive_tiou: float = Field(default=0.6, gt=0, le=1)
    """Anchors that overlap an action by this much learn it; those in between learn nothing."""
    prior_probability: float = Field(default=0.01, gt=0, lt=1)
    """Score of every class at the start of training."""
    loss_weight: PositiveFloat = 1.0
    """Weight of the regression loss."""

    score_threshold: Annotated[float, Field(ge=0, lt=1), Shapes("results")] = 0.005
    """Only scores above this become segments."""
    kept_per_level: Annotated[PositiveInt, Shapes("results")] = 1000
    """The most anchors that a level may give for a window; each may give a segment for every class."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for heads in ("consistency_heads", "num_heads"):
            if self.dim % getattr(self, heads):
                raise ValueError(f"dim is {self.dim}: expected a multiple of {heads}, {getattr(self, heads)}")
        if any(window % 2 == 0 for window in self.windows):
            raise ValueError("windows must be odd, so that they have a centre")
        if self.negative_tiou > self.positive_tiou:
            raise ValueError(f"negative_tiou is {self.negative_tiou}: expected at most positive_tiou")
        return self

    @property
    def strides(self) -> list[int]:
        """Feature steps from one position to the next, for each level."""
        from actloc.layers.temporal_consistency import REDUCTION

        return [REDUCTION * 2**level for level in range(len(self.windows) + 1)]

    def anchors(self, max_steps: int) -> Tensor:
        """The anchors (A, 2) of a window, in feature steps."""
        from actloc.ops.anchors import level_anchors

        return level_anchors(self.level_lengths(max_steps), self.strides, self.anchor_scale, self.anchors_per_position)

    def level_lengths(self, max_steps: int) -> list[int]:
        """The positions of each level of a window."""
        return [-(-max_steps // stride) for stride in self.strides]

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> TallFormer:
        """A new TALLFormer for windows of `max_steps` steps, initialised as the official one.

        Raises UserError if the coarsest level has one position: a batch of one video then has no statistics.
        """
        from actloc.detectors.tallformer.network import TallFormer

        if self.norm_statistics == "batch" and self.level_lengths(max_steps)[-1] == 1:
            raise UserError(
                f"features.max_steps is {max_steps}: the last of the {len(self.strides)} levels of tallformer has one "
                "position, from which batch norm cannot learn.",
                f"Expected more than {self.strides[-1]} steps.",
                "Raise features.max_steps, list fewer detector.windows, or set detector.norm_statistics=fixed",
            )
        return TallFormer(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Three levels of 16 channels; batch norm is fixed, since with it videos of a batch depend on each other."""
        return cls(
            dim=16,
            consistency_layers=1,
            consistency_heads=4,
            windows=(5, 3),
            num_heads=2,
            head_dim=8,
            head_layers=2,
            norm_statistics="fixed",
            anchors_per_position=3,
        )
