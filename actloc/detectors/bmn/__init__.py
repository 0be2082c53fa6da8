"""BMN: the curves of starts and ends, and a score for every pair of them.

Lin et al., 2019, "BMN: Boundary-Matching Network for Temporal Action Proposal Generation" (arXiv 1907.09702).
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import math
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from actloc.detectors.base import ClasslessConfig
from actloc.errors import UserError
from actloc.settings.sections import Fraction, Shapes

if TYPE_CHECKING:
    from actloc.detectors.bmn.network import Bmn
MOST_STEPS = 400  # of a sequence: its map has the square of them as cells, each with hundreds of channels


class Config(ClasslessConfig):
    """Settings of BMN; the defaults are those of the public PyTorch code for ActivityNet."""

    dim: PositiveInt = 256
    """Channels of the features that all parts see."""
    conv_groups: PositiveInt = 4
    """Groups of channels in the convolutions along the sequence."""
    sampled_dim: PositiveInt = 512
    """Channels that the samples of a segment become together."""
    map_dim: PositiveInt = 128
    """Channels of the convolutions over the map of starts and ends."""
    num_samples: PositiveInt = 32
    """Samples of a segment and its surroundings, from its first to its last."""
    points_per_sample: PositiveInt = 3
    """Evenly spaced points that a sample is the mean of."""
    official_balance: bool = False
    """Whether the loss of IoU values also counts candidates twice, and pairs that are no segments, where there are too
    few to balance, as the official code does."""

    reaches_end: Annotated[bool, Shapes("results")] = True
    """Whether segments may end where the sequence ends; officially they may not."""
    proposals: Annotated[PositiveInt, Shapes("results")] = 100
    """The most segments that are found in a sequence."""
    proposal_sigma: Annotated[PositiveFloat | None, Shapes("results")] = 0.4
    """Width of the Gaussian by which a segment lowers the scores of others in its sequence before `suppression` takes
    them; null: leave them as they are."""
    proposal_tious: Annotated[tuple[Fraction, Fraction], Shapes("results")] = (0.5, 0.9)
    """The overlap above which scores are lowered: by the shortest segment, and by one as long as the sequence."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.conv_groups:
            raise ValueError(f"dim: found {self.dim}, expected a multiple of conv_groups, which is {self.conv_groups}")
        if self.num_samples * self.points_per_sample < 2:
            raise ValueError("num_samples: found 1 point in all, expected at least 2")
        return self

    def build_classless(self, in_channels: int, max_steps: int) -> Bmn:
        """A new detector. Raises UserError if the features cannot be grouped, or the map has too many cells."""
        from actloc.detectors.bmn.network import Bmn

        if in_channels % self.conv_groups:
            raise UserError(
                f"The features have {in_channels} channels.",
                f"Expected a multiple of detector.conv_groups, which is {self.conv_groups}.",
                f"Set detector.conv_groups={math.gcd(in_channels, self.conv_groups)}, or use other features.",
            )
        if max_steps > MOST_STEPS:
            raise UserError(
                f"features.max_steps={max_steps} has {max_steps**2:,} pairs of a start and an end, which the detector "
                "would score together.",
                f"Expected at most {MOST_STEPS} steps.",
                "Set features.max_steps=100 and features.window_steps=100 to detect in windows, or "
                "features.resize_to=100.",
            )
        return Bmn(self, in_channels, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Few channels and samples."""
        return cls(dim=8, conv_groups=2, sampled_dim=8, map_dim=8, num_samples=4, points_per_sample=2)
