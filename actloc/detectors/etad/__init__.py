"""ETAD: candidates of all places and lengths, refined in a cascade; it learns from a few of them at a time.

Liu et al., 2022, "ETAD: Training Action Detection End to End on a Laptop" (arXiv 2205.07134).
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from actloc.detectors.base import ClasslessConfig
from actloc.errors import UserError

if TYPE_CHECKING:
    from actloc.detectors.etad.network import Etad
MOST_CANDIDATES = 200_000  # of a sequence: a training step learns from thousands of them, each with its own features


class Config(ClasslessConfig):
    """Settings of ETAD; the defaults are the official ones for ActivityNet."""

    ignores_unlabelled: ClassVar[bool] = True

    dim: PositiveInt = 256
    """Channels of the features that all stages see."""
    head_dim: PositiveInt = 128
    """Channels inside the heads of the stages."""
    trunk_dim: PositiveInt = 512
    """Channels that a candidate's features become first."""
    conv_groups: PositiveInt = 4
    """Groups of channels in the convolutions before the heads."""
    norm_groups: PositiveInt = 16
    """Groups of channels in every norm."""
    stage_tious: tuple[float, ...] = (0.7, 0.8, 0.9)
    """For each stage of the cascade: the temporal IoU with its action above which a candidate learns to move."""
    longest_steps: PositiveInt | None = None
    """The longest candidate in feature steps; null: the whole sequence."""
    sampling: Literal["random", "grid", "block"] = "random"
    """Which candidates a training step learns from: of each video other ones at random, the same even spread every
    time, or a square of neighbouring starts and lengths."""
    sampled_share: float = Field(default=0.06, gt=0, le=1)
    """Their share of all candidates; detection takes all."""
    official_balance: bool = False
    """Whether losses also count candidates twice where there are too few to balance, as the official code does."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % (2 * self.conv_groups) or self.dim % (2 * self.norm_groups):
            raise ValueError(
                f"dim: found {self.dim}, expected a multiple of twice conv_groups and of twice norm_groups"
            )
        if not self.stage_tious or not all(0 <= tiou < 1 for tiou in self.stage_tious):
            raise ValueError("stage_tious: expected at least one number, each from 0 to below 1")
        return self

    def build_classless(self, in_channels: int, max_steps: int) -> Etad:
        """A new detector. Raises UserError if the features cannot be grouped, or there are too many candidates."""
        from actloc.detectors.etad.network import Etad

        if in_channels % self.conv_groups:
            raise UserError(
                f"The features have {in_channels} channels.",
                f"Expected a multiple of detector.conv_groups, which is {self.conv_groups}.",
                f"Set detector.conv_groups={math.gcd(in_channels, self.conv_groups)}, or use other features.",
            )
        longest = min(self.longest_steps or max_steps, max_steps)
        count = longest * (2 * max_steps + 1 - longest) // 2
        if count > MOST_CANDIDATES:
            raise UserError(
                f"features.max_steps={max_steps} has {count:,} segments, each of which the detector would score.",
                f"Expected at most {MOST_CANDIDATES:,}; 128 steps have 8,256.",
                "Set features.max_steps=128 and features.window_steps=128 to detect in windows, or limit the length of "
                "actions: detector.longest_steps=64",
            )
        return Etad(self, in_channels, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Two stages of few channels; all candidates learn to move, so that rounding chooses none."""
        return cls(dim=16, head_dim=8, trunk_dim=16, conv_groups=2, norm_groups=2, stage_tious=(0.0, 0.0))
