"""AFSD as in TALLFormer's ActivityNet variant: coarse segments that are refined by features around their ends.

The heads are AFSD's (Lin et al., 2021, arXiv 2103.13137); what comes before them is TALLFormer's (Cheng and Bertasius,
2022, arXiv 2204.01680). There is no mask: all sequences have the same length, and what pads them is part of the input.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from actloc.detectors.base import DetectorConfig
from actloc.errors import UserError

if TYPE_CHECKING:
    from actloc.detectors.afsd.network import Afsd


class Config(DetectorConfig):
    """Settings of AFSD; the defaults are TALLFormer's for ActivityNet, with 384 steps of two frames."""

    scores_classes: ClassVar[bool] = True
    ignores_unlabelled: ClassVar[bool] = True

    dim: PositiveInt = 512
    """Channels of every level of the pyramid."""
    consistency_heads: PositiveInt = 16
    """Attention heads of the layers before the pyramid; they share the channels evenly."""
    consistency_layers: PositiveInt = 3
    """Transformer layers before the pyramid, which see the whole sequence."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance that a residual branch of these layers is left out."""
    norm_groups: PositiveInt = 32
    """Groups of channels in the norms of the pyramid and the heads."""
    regression_ranges: tuple[tuple[NonNegativeFloat, PositiveFloat], ...] = (
        (0, 15),
        (7.5, 30),
        (15, 60),
        (30, 120),
        (48, 384),
        (128, 384),
    )
    """For each level, finest first: the nearest and farthest action border, in feature steps, that it learns. The
    first level has a point for every four steps, each of the others half as many as the one before."""
    frames_per_step: PositiveInt = 2
    """Positions of the fine grid, on which starts and ends are learned, for each feature step."""
    refined_tiou: float = Field(default=0.6, gt=0, le=1)
    """Temporal IoU with its action from which a coarse segment is refined; the best one of a video always is."""
    class_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of the video's mean feature that is dropped before its class is scored."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.consistency_heads or self.dim % self.norm_groups or self.dim % 2:
            raise ValueError(
                f"dim is {self.dim}: it must be even and a multiple of consistency_heads and of norm_groups"
            )
        if any(nearest > farthest for nearest, farthest in self.regression_ranges):
            raise ValueError("regression_ranges: the nearest border of a level is beyond its farthest")
        return self

    @property
    def strides(self) -> list[int]:
        """Feature steps from one point to the next, for each level."""
        from actloc.layers.temporal_consistency import REDUCTION

        return [REDUCTION * 2**level for level in range(len(self.regression_ranges))]

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> Afsd:
        """A new detector; raises UserError if `max_steps` is not whole steps of the coarsest level."""
        from actloc.detectors.afsd.network import Afsd

        if max_steps % self.strides[-1]:
            raise UserError(
                f"features.max_steps is {max_steps}.",
                f"Expected a multiple of {self.strides[-1]}, the stride of the coarsest level of detector.name=afsd.",
                f"Set features.max_steps={-(-max_steps // self.strides[-1]) * self.strides[-1]}, or fewer "
                "detector.regression_ranges.",
            )
        return Afsd(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Three levels of 32 channels; nearly all coarse segments are refined, so that rounding chooses none."""
        ranges = ((0, 8), (4, 16), (8, 64))
        return cls(
            dim=32,
            consistency_heads=2,
            consistency_layers=1,
            norm_groups=4,
            regression_ranges=ranges,
            refined_tiou=0.05,
        )
