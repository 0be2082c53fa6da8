"""Mean and standard deviation of red, green and blue over a clip: for the toy dataset, the docs and the tests."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from actloc.encoders.base import ResizedFrames

if TYPE_CHECKING:
    from actloc.encoders.color.network import Color


class Config(ResizedFrames):
    """Settings of the encoder that needs no weights."""

    short_side: PositiveInt = 64
    """Short side in pixels after resizing; a mean colour needs few."""

    @property
    def has_weights(self) -> bool:
        """No: it computes means and standard deviations."""
        return False

    def build(self) -> Color:
        """The encoder, which has no weights."""
        from actloc.encoders.color.network import Color

        return Color(self).eval()

    @classmethod
    def small(cls) -> Config:
        """Small frames."""
        return cls(short_side=16)
