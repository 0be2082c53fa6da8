"""Features of long videos that stay on disk: a detector that sees a video part by part reads no more than that."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    ReadRows = Callable[[int, int], Tensor]
    """The rows (n, C) float32 of a video from one number to another."""

_MOST_BYTES = 32 << 20
"""Of a video's float32 features that are read at once, ahead of their turn: 6,500 steps of 1280 channels."""


def is_long(num_rows: int, channels: int) -> bool:
    """Whether a video's features are too large to be read at once where a part of them will do."""
    return 4 * num_rows * channels > _MOST_BYTES


@dataclass(frozen=True)
class FeaturesOnDisk:
    """Features (C, T) that are read when they are asked for: every `every`-th row from `first_row` on; a `Payload`."""

    read_rows: ReadRows
    channels: int
    num_steps: int
    every: int
    first_row: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """C and T."""
        return self.channels, self.num_steps

    def narrow(self, dim: int, start: int, length: int) -> FeaturesOnDisk:
        """The features of `length` steps from step `start` on, not read yet."""
        assert dim == 1
        return replace(self, first_row=self.first_row + start * self.every, num_steps=length)

    def features(self) -> Tensor:
        """The features (C, T); what reading them raises passes."""
        end = self.first_row + (self.num_steps - 1) * self.every + 1
        return self.read_rows(self.first_row, end)[:: self.every].T
