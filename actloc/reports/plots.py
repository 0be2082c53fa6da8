"""Draws step curves and lines into a box: paths, and marks that tell lines apart without their colour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actloc.evaluation.columns import Floats

LEFT, TOP, WIDTH, HEIGHT = 40, 10, 310, 240
"""The box of a plot in its drawing of 360 x 290, in pixels of the drawing."""
SMALL = 100
"""Both sides of the box of a small curve."""
_NUM_MARKS, _MARKS_PER_LINE = 6, 8


@dataclass(frozen=True)
class Line:
    """A line of a plot, with what its legend says; `area` is that under a precision-recall curve, 0 to 1."""

    name: str
    path: str
    marks: list[tuple[float, float]]
    number: int
    """Which colour and which mark it has."""
    area: float | None = None

    @property
    def shape(self) -> int:
        """The number of its mark; lines that share a colour differ in it only after 36 lines."""
        return (self.number + self.number // _NUM_MARKS) % _NUM_MARKS


def small_path(curve: Floats) -> str:
    """A step function in the box of a small curve, as the upper edge of an area that ends at the box's bottom."""
    return f"M0 {SMALL}L{step_path(curve, 0, 0, SMALL, SMALL)[1:]}V{SMALL}"


def step_path(curve: Floats, left: float, top: float, width: float, height: float) -> str:
    """A step function from 0 to 1 as an SVG path; neighbouring steps of one height are one."""
    is_end = np.append(np.diff(curve) != 0, True)
    ends = (np.flatnonzero(is_end) + 1) / len(curve)
    parts = [
        f"V{_short(top + height * (1 - value))}H{_short(left + width * end)}"
        for value, end in zip(curve[is_end], ends, strict=True)
    ]
    return f"M{_short(left)} {parts[0][1:]}{''.join(parts[1:])}"


def curve_line(name: str, curve: Floats, number: int) -> Line:
    """A precision-recall curve in the box of a plot."""
    places = [(0.5 + place) / _MARKS_PER_LINE for place in range(_MARKS_PER_LINE)]
    marks = [in_box(place, float(curve[int(place * len(curve))])) for place in places]
    return Line(name, step_path(curve, LEFT, TOP, WIDTH, HEIGHT), marks, number, float(curve.mean()))


def line(name: str, values: Sequence[float | None], number: int) -> Line:
    """Values from 0 to 1 at equal distances, in the box of a plot; those that were not measured are left out."""
    last = max(1, len(values) - 1)
    points = [in_box(place / last, value) for place, value in enumerate(values) if value is not None]
    path = "".join(f"{'L' if place else 'M'}{_short(x)} {_short(y)}" for place, (x, y) in enumerate(points))
    return Line(name, path, points[4 * number + 2 :: 12], number)


def in_box(right: float, up: float) -> tuple[float, float]:
    """The place (x, y) in the drawing of a point of the unit square."""
    return LEFT + WIDTH * right, TOP + HEIGHT * (1 - up)


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
