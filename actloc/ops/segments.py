"""Geometry of segments, on arrays: a segment is (start, end)."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", bound=np.floating)


def iou(first: NDArray[Real], second: NDArray[Real]) -> NDArray[Real]:
    """Intersection over union of segments (..., 2), broadcast against each other; `a[:, None], b` gives a table.

    Two segments without any length have none (nan).
    """
    starts, ends = first[..., 0], first[..., 1]
    other_starts, other_ends = second[..., 0], second[..., 1]
    intersection = np.maximum(np.minimum(ends, other_ends) - np.maximum(starts, other_starts), 0)
    union = (ends - starts) + (other_ends - other_starts) - intersection
    with np.errstate(divide="ignore", invalid="ignore"):
        return intersection / union
