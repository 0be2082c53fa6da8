"""Reads the CSVs that people write by hand: columns may have one of several names, and rows may have mistakes."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from actloc import files
from actloc.errors import UserError

TOO_MANY = "too many cells"
"""The key of what is wrong with the number of cells, as after an unquoted comma; no column of a CSV has this name."""
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def read_table(
    path: Path, columns: dict[str, tuple[str, ...]], optional: Iterable[str], setting: str
) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows, with the columns renamed: `columns` has every name that each may have in the file.

    `setting` names the file, for messages. Raises UserError unless it is a CSV with all columns but the optional ones.
    """
    required = [name for name in columns if name not in optional]
    first_line = ",".join(required)
    if path.suffix.lower() in _SPREADSHEETS:
        raise UserError(
            f"{path} is a spreadsheet.",
            f"Expected a CSV with the first line {first_line}.",
            f"Save it as CSV in the spreadsheet program and set {setting}={path.with_suffix('.csv')}",
        )
    try:
        text = files.read_text(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.", "Expected a CSV.", "Save it as UTF-8.") from error
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    column = {
        ours: header.index(next(name for name in names if name in header))
        for ours, names in columns.items()
        if any(name in header for name in names)
    }
    missing = [name for name in required if name not in column]
    if missing:
        also = f", or the same with {' and '.join(optional)}" if optional else ""
        raise UserError(
            f"{path}:1: no column {' or '.join(missing)}; the columns are {', '.join(header) or 'not named'}.",
            f"Expected the first line {first_line}{also}.",
            "Name the columns in the first line.",
        )
    rows = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            row = {name: cells[at].strip() if at < len(cells) else "" for name, at in column.items()}
            row[TOO_MANY] = "" if len(cells) <= len(header) else f"{len(cells)} cells for {len(header)} columns"
            rows.append((reader.line_num, row))
    return rows
