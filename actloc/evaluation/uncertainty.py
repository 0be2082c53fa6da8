"""How sure measured numbers are: the part of `metrics.json` with the intervals that a bootstrap over videos gives."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

CHECKED = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
"""Records are frozen, strict about types, without unknown keys, nan or inf.

They are built when results are read or written: every command imports them, and most need none.
"""
Proportion = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""From 0 to 1; rounding may lift the mean of ones slightly above 1."""


class Interval(BaseModel):
    """Where a number would probably be on other videos of the same kind."""

    model_config = CHECKED

    low: Proportion
    high: Proportion


class Uncertainty(BaseModel):
    """Percentile intervals of mAP over test sets that are drawn from the videos with replacement."""

    model_config = CHECKED

    level: Proportion
    """The share of the draws whose mAP is inside: 0.95."""
    draws: NonNegativeInt
    seed: NonNegativeInt
    """Of the draws: the same videos are drawn each time."""
    mean_ap: list[Interval | None]
    """Per tIoU; None where there is none."""
    average_map: Interval | None
    reason: str = ""
    """Why there are none."""
