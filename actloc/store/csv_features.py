"""Reads one video's features from a table of numbers as text: a line for each step, a column for each channel.

A first line of names is skipped, and so are pandas' numbers of columns (0, 1, 2, ...) and of rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class _Form:
    """How the text is written."""

    delimiter: str | None
    """None for blanks."""
    header_lines: int
    first_column: int
    channels: int


def shape(path: Path) -> tuple[int, int]:
    """Steps and channels; raises ValueError if the first lines are no table of numbers."""
    form = _form(path)
    with path.open(encoding="utf-8-sig") as stream:
        steps = sum(bool(line.strip()) for line in stream) - form.header_lines
    return steps, form.channels


def read(path: Path) -> NDArray[Any]:
    """The values (T, C) as float32; raises ValueError that names the line of text or of another length."""
    form = _form(path)
    if not form.channels:
        return np.zeros((0, 0), np.float32)
    how: dict[str, Any] = {"comments": None, "ndmin": 2, "encoding": "utf-8-sig"}
    values = np.loadtxt(path, np.float32, delimiter=form.delimiter, skiprows=form.header_lines, **how)
    return values[:, form.first_column :]


def _form(path: Path) -> _Form:
    with path.open(encoding="utf-8-sig") as stream:
        lines = [stripped for line in stream if (stripped := line.strip("\r\n")).strip()][:3]
    if not lines:
        return _Form(None, 0, 0, 0)
    delimiter = next((one for one in _DELIMITERS if any(one in line for line in lines)), None)
    rows = [[cell.strip() for cell in line.split(delimiter)] for line in lines]
    names = rows[0]
    has_row_numbers = delimiter is not None and names[0] == "" and len(names) > 1
    are_numbers = [_is_number(cell) for cell in names]
    counts = [str(number) for number in range(len(names))]
    is_header = has_row_numbers or not all(are_numbers) or (len(names) > 1 and names == counts)
    first_column = int(has_row_numbers)
    return _Form(delimiter, int(is_header), first_column, len(names) - first_column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
