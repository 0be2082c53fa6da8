"""Several square crops of every clip, whose scores recognition networks average in tests: left, right, centre."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.video.frame_transforms import spare_pixels

Corner = tuple[int, int]
"""The first row and column of a crop."""


def three_across(height: int, width: int, size: int) -> tuple[Corner, ...]:
    """Corners of the left, right and central crop of frames of this size, halfway down (TAM's full resolution).

    The step is a quarter of the columns to spare, rounded down, so the right crop may end up to three columns before
    the right edge; the three crops of a portrait video are equal. Raises VideoError `unsupported` for smaller frames.
    """
    down, across = (spare // 4 for spare in spare_pixels(height, width, size))
    return (2 * down, 0), (2 * down, 4 * across), (2 * down, 2 * across)


def three_along(height: int, width: int, size: int) -> tuple[Corner, ...]:
    """Corners of the first, last and central crop along the longer side, in the middle of the shorter one.

    As mmaction2's ThreeCrop (DualFormer), which wants a shorter side of exactly `size`. The step is half of the pixels
    to spare, rounded down, so the last crop may end a pixel before the edge. Raises VideoError `unsupported` for
    smaller frames.
    """
    down, across = (spare // 2 for spare in spare_pixels(height, width, size))
    if height > width:
        return (0, across), (2 * down, across), (down, across)
    return (down, 0), (down, 2 * across), (down, across)


def views(clips: NDArray[Any], corners: Sequence[Corner], size: int) -> NDArray[Any]:
    """The square crops (K * C, F, size, size, c) of clips (K, F, H, W, c): the C crops of the first clip, then others'.

    Decode all clips of a video at once with `ClipReader.read_frames`, and cut them here.
    """
    crops = [clips[:, :, top : top + size, left : left + size] for top, left in corners]
    stacked = np.stack(crops, axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])
