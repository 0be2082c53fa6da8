"""How many tokens become one in the levels of DualFormer's pyramid. No torch here: settings are checked with it."""

import math

from actloc.structures import Axes

SEEN: Axes = (1, 7, 7)
"""The kernel, and the step, of the first convolution of the coarse level."""


def fine_kernel(grid: Axes, tokens: Axes) -> Axes | None:
    """The tokens along each axis of `grid` that become one of `tokens`; None if there is nothing to pool."""
    kernel = _parts(grid, tokens)
    return kernel if math.prod(kernel) > 1 else None


def coarse_kernel(grid: Axes, tokens: Axes) -> Axes | None:
    """The same after the coarse level's first convolution; None if the grid is too small for so many tokens."""
    kernel = _parts(_parts(grid, tokens), SEEN)
    return kernel if math.prod(kernel) else None


def _parts(grid: Axes, by: Axes) -> Axes:
    return grid[0] // by[0], grid[1] // by[1], grid[2] // by[2]
