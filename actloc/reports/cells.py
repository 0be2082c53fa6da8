"""Tables as data: cells, rows of numbers, and which number is the best."""

from collections.abc import Sequence
from dataclasses import dataclass

from actloc.reports.text import percent

ByTIoU = dict[float, float | None]
"""A number for each tIoU, None if it was not measured."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """Names on the left, numbers on the right: the first `num_names` columns are text."""

    title: str
    columns: list[str]
    num_names: int
    rows: list[list[Cell]]
    caption: list[str]


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the numbers that were measured; None if there are none."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None


def by_tiou(tious: Sequence[float], values: Sequence[float | None]) -> ByTIoU:
    """Values by tIoU, rounded: 0.1 + 0.2 in one run is 0.3 in another."""
    return {round(tiou, 4): value for tiou, value in zip(tious, values, strict=True)}


def cells(values: Sequence[float | None], mark: bool, fair: Sequence[bool] | None = None) -> list[Cell]:
    """Cells of values to compare with each other, in percent; values equal to two decimals are equally good.

    `fair` says of each value whether it may be the best.
    """
    may_win = [True] * len(values) if fair is None else fair
    measured = [value for value, is_fair in zip(values, may_win, strict=True) if is_fair and value is not None]
    best = percent(max(measured)) if mark and len(measured) > 1 else None
    return [
        Cell(percent(value), is_fair and percent(value) == best) for value, is_fair in zip(values, may_win, strict=True)
    ]
