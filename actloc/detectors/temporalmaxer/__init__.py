"""TemporalMaxer: a pyramid of max-pooling in place of attention (Tang et al., 2023, arXiv 2303.09055)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from actloc.detectors.base import PointConfig

if TYPE_CHECKING:
    from actloc.detectors.temporalmaxer.network import TemporalMaxer

GROUPS = 4  # of channels, in the official group norm


class Config(PointConfig):
    """Settings of TemporalMaxer; the defaults are those of THUMOS14 with I3D features."""

    neck_norm: Literal["group", "channel", "none"] = "group"
    """The norm that all levels share: over groups of channels and all steps, padding included; over channels; none."""
    class_cost: NonNegativeFloat = 1.0
    """How much the scores of a point weigh in the choice of the action whose borders it learns."""
    border_cost: NonNegativeFloat = 2.0
    """How much the borders that it predicts weigh in this choice."""
    kept_share: float = Field(default=1.0, gt=0, le=1)
    """For each action the share of the points within it, the cheapest first, that count fully in the losses."""
    other_weight: NonNegativeFloat = 0.0
    """How much the points within actions count that are in the share of none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.neck_norm == "group" and self.dim % GROUPS:
            raise ValueError(f"dim is {self.dim}: neck_norm group needs a multiple of {GROUPS}")
        return self

    @property
    def reach_steps(self) -> int | None:
        """Half a kernel of every layer, in feature steps; None where the norm of the neck is over all steps."""
        if self.neck_norm == "group":
            return None
        embedding = self.num_embedding_convs * (self.embedding_kernel // 2)
        return embedding + sum(self.strides[:-1]) + self.head_layers * (self.head_kernel // 2) * self.strides[-1]

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> TemporalMaxer:
        """A new TemporalMaxer, initialised as the official one."""
        from actloc.detectors.temporalmaxer.network import TemporalMaxer

        return TemporalMaxer(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Three levels of 16 channels with a shared norm that learns."""
        ranges = ((0, 4), (4, 8), (8, 10000))
        return cls(dim=16, num_branch_blocks=2, regression_ranges=ranges, head_layers=2, neck_norm="channel")
