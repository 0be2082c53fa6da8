"""The multi-scale crop of TSN's and TAM's training: four lengths of the sides, thirteen places.

Wang et al. 2016, arXiv 1608.00859, section 3.2 (corner cropping and scale jittering), with the places and the scales of
TAM (Liu et al. 2021, arXiv 2005.06803). It runs in the decoding process, so nothing here imports torch.
"""

import random
from dataclasses import dataclass

from actloc.video.frame_transforms import Frame, FrameStep, Resize

_SCALES = 1.0, 0.875, 0.75, 0.66  # of the frame's short side
_WITHIN = 2  # pixels: a side that is this near to the network's input is set to it
_PAIRS = [(high, wide) for high in range(4) for wide in range(4) if abs(high - wide) <= 1]
"""Which scales the height and the width have: neighbours at most, so that shapes are not distorted much."""
_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),  # corners and centre
    *((2, 0), (2, 4), (4, 2), (0, 2)),  # centres of the edges
    *((1, 1), (1, 3), (3, 1), (3, 3)),  # between the centre and the corners
)
"""Quarters of the pixels to spare, down and across, in TAM's order."""


@dataclass(frozen=True)
class MultiScaleCrop(FrameStep):
    """A part of the frame, resized to `size` pixels squared by Pillow's bilinear method.

    TAM resizes nothing before; mmaction2 first resizes the short side to 256.
    """

    size: int
    pair: int
    """Number of the pair of sides, from 0 to 9."""
    place: int
    """Number of the place, from 0 to 12."""

    @classmethod
    def drawn(cls, generator: random.Random, size: int) -> "MultiScaleCrop":
        """One draw: pairs and places are equally likely."""
        return cls(size, generator.randrange(len(_PAIRS)), generator.randrange(len(_PLACES)))

    def part(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns of a frame of this size that are kept."""
        high, wide = (self._side(min(height, width), scale) for scale in _PAIRS[self.pair])
        down, across = _PLACES[self.place]
        top, left = down * ((height - high) // 4), across * ((width - wide) // 4)
        return slice(top, top + high), slice(left, left + wide)

    def _side(self, short_side: int, scale: int) -> int:
        side = max(int(short_side * _SCALES[scale]), 1)
        # a frame smaller than the input cannot give as many pixels as the input has
        return min(self.size, short_side) if abs(side - self.size) <= _WITHIN else side

    def apply(self, frame: Frame) -> Frame:
        """The part of the frame (size, size, c), of the frame's type."""
        return Resize("pil_bilinear", size=(self.size, self.size)).apply(frame[self.part(*frame.shape[:2])])
