"""Reads the tables that people write by hand or export: columns may have one of several names, rows may have mistakes.

Columns are separated by commas, semicolons, tabs or bars (|). The text is UTF-8, UTF-16 or Windows-1252, as
spreadsheets save it.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError

TOO_MANY = "too many cells"
"""The key of what is wrong with the cells of a row, as after an unquoted comma; no column of a table has this name."""
SWALLOWED = "a cell of several lines; is a quotation mark not closed?"
"""What is wrong with the cells where one may hold further rows."""
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
SPREADSHEET_BYTES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""The first bytes of spreadsheets: of archives, as .xlsx and .ods are, and of .xls."""
_OTHER_FORMS = {".eaf": "a project of ELAN", ".xml": "XML", ".textgrid": "a TextGrid of Praat", ".srt": "subtitles"}
_UNIT = re.compile(r"(?:_?[(\[](?:s|secs?|seconds?|in_seconds|h?h:mm:ss)[)\]]|_(?:s|secs?|seconds?))$")
"""Seconds at the end of a column's name: start_s, start (s), start [sec]."""
_OTHER_UNITS = {
    "frames": (
        re.compile(r"(?:start|begin|first|end|stop|last)[_([]*frames?|frames?_?(?:start|begin|first|end|stop|last)"),
        "Set annotations_fps, the frames per second at which they were counted, where the dataset has it; or divide: "
        "start / fps and, if the last frame is part of the action, (end + 1) / fps.",
    ),
    "milliseconds": (
        re.compile(r"[_(\[](?:ms|msecs?|milliseconds?)[)\]]?$"),
        "Set unit=milliseconds, where the dataset has it; or divide them by 1000.",
    ),
}

COLUMNS = {
    "video": ("video", "video_id", "video_name", "id", "file", "filename", "file_name", "path", "file_path", "name"),
    "start": (
        "start",
        "start_time",
        "begin",
        "begin_time",
        "t_start",
        "from",
        "begin_time_ss.msec",
        "begin_time_hh:mm:ss.ms",
    ),
    "end": ("end", "end_time", "stop", "stop_time", "t_end", "to", "end_time_ss.msec", "end_time_hh:mm:ss.ms"),
    "label": ("label", "class", "category", "action", "activity", "annotation"),
    "subset": ("subset", "split"),
    "tier": ("tier",),
    "score": ("score", "confidence", "probability"),
    "annotated": ("annotated", "annotated_time"),
}
"""Of a table of actions. The names of ELAN's export of annotations to text are the last ones of each."""
OPTIONAL_COLUMNS = ("subset", "tier", "score", "annotated")
FRAME_COLUMNS = {
    end: tuple(f"{name}{frame}" for name in names for frame in ("_frame", "_frames", "frame", "_(frames)", "_[frames]"))
    + tuple(f"frame_{name}" for name in names)
    for end, names in {"start": ("start", "begin", "first"), "end": ("end", "stop", "last")}.items()
}
"""The columns `start` and `end` where they are frames."""

Rows = list[tuple[int, dict[str, str]]]


def read_table(path: Path, columns: dict[str, tuple[str, ...]], optional: Iterable[str], setting: str) -> Rows:
    """Line numbers and rows, with the columns renamed: `columns` has every name that each may have in the file.

    `setting` names the file, for messages. Raises UserError unless it is a table with all columns but the optional
    ones.
    """
    suffix = path.suffix.lower()
    content = b"" if suffix in _OTHER_FORMS else files.read_bytes(path)
    is_spreadsheet = suffix in SPREADSHEETS or content.startswith(SPREADSHEET_BYTES)
    if is_spreadsheet or suffix in _OTHER_FORMS:
        target = saved_as(path)
        raise UserError(
            f"{path} is {'a spreadsheet' if is_spreadsheet else _OTHER_FORMS[suffix]}.",
            f"Expected a CSV with the first line {_first_line(columns, optional)}.",
            f"Save it as CSV in the spreadsheet program and set {setting}={target}"
            if is_spreadsheet
            else f"Export it as a table with these columns and set {setting}={target}",
        )
    return list(rows_of(path, decoded(path, content), columns, optional))


def saved_as(path: Path) -> Path:
    """The CSV to save a spreadsheet as."""
    return path.with_name(f"{path.stem}_saved.csv") if path.suffix.lower() == ".csv" else path.with_suffix(".csv")


def rows_of(
    path: Path, text: str, columns: dict[str, tuple[str, ...]], optional: Iterable[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Like `read_table`, of the text of a file, row by row."""
    lines, delimiter = cells_of(path, text)
    _, header = next(lines, (1, []))
    column = _columns(path, header, columns, optional)
    for line, cells in lines:
        yield line, _row(cells, column, len(header), delimiter)


def header_of(head: str) -> list[str]:
    """The names of the columns in the beginning of a text, as `read_table` compares them; empty without any text."""
    lines = [line for line in head.split("\n") if line.strip()]
    if lines and lines[0].lower().startswith("sep="):
        lines = lines[1:]
    if not lines:
        return []
    return [_plain(cell) for cell in next(csv.reader([lines[0]], delimiter=max("\t;,|", key=lines[0].count)), [])]


def cells_of(path: Path, text: str) -> tuple[Iterator[tuple[int, list[str]]], str]:
    """Line numbers and cells of the lines that have any, and what separates them."""
    first_line, _, rest = text.lstrip("\n").partition("\n")
    delimiter = max("\t;,|", key=first_line.count)
    if first_line.lower().startswith("sep="):  # Excel's
        delimiter, text = first_line[4:5] or ",", f"\n{rest}"
    return _cells(path, text, delimiter), delimiter


def _cells(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Raises UserError for open quotes."""
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(
            f"{path}:{reader.line_num}: {error}.",
            "Expected cells whose quotation marks are closed.",
            "Fix the quotation marks in this line or above it.",
        ) from error


def _lines(text: str) -> Iterator[str]:
    """One after the other; StringIO takes four bytes for each character of the text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def read_records(
    path: Path, records: list[dict[str, Any]], columns: dict[str, tuple[str, ...]], optional: Iterable[str]
) -> Rows:
    """Like `read_table`, of the objects of a JSON list, as Create ML's: their numbers, and their values as text."""
    header = list(dict.fromkeys(name for record in records for name in record))
    column = _columns(path, header, columns, optional)
    texts = ([_cell(record.get(name)) for name in header] for record in records)
    return [(number, _row(cells, column, len(header))) for number, cells in enumerate(texts)]


def _cell(value: Any) -> str:  # Any: a JSON value
    return "" if value is None else str(value)


def encoding_of(content: bytes) -> str:
    """UTF-16 where the first two bytes show it, else UTF-8."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in content[:2]:
        return "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"


def decoded(path: Path, content: bytes) -> str:
    """The text of a file, with newlines as line ends; raises UserError for what is no text."""
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            expected = "Expected text in UTF-8, UTF-16 or Windows-1252."
            raise UserError(f"{path} is not such text: {error}.", expected, "Save it as UTF-8.") from error
        console.say(f"{path} is not UTF-8; read as Windows-1252. If letters are wrong, save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _columns(
    path: Path, header: Sequence[str], columns: dict[str, tuple[str, ...]], optional: Iterable[str]
) -> dict[str, int]:
    """Where each column is."""
    names_there = [_plain(cell) for cell in header]
    column = {}
    for ours, names in columns.items():
        there = [name for name in map(_plain, names) if name in names_there]
        if there:
            column[ours] = names_there.index(there[0])
    missing = [name for name in columns if name not in optional and name not in column]
    if not missing:
        return column
    listed = ", ".join(cell.strip().lower() for cell in header) or "not named"
    fix = "Name the columns in the first line."
    found = f"no column {' or '.join(missing)}; the columns are {listed}"
    for unit, (pattern, how) in _OTHER_UNITS.items():
        of_unit = [cell.strip() for cell, name in zip(header, names_there, strict=True) if pattern.search(name)]
        if of_unit and {"start", "end"} & set(missing):
            found, fix = f"the times in {' and '.join(of_unit)} are {unit}", f"{how} Name the columns start and end."
            break
    also = f", or the same with {' and '.join(optional)}" if optional else ""
    raise UserError(f"{path}:1: {found}.", f"Expected the first line {_first_line(columns, optional)}{also}.", fix)


def _first_line(columns: Iterable[str], optional: Iterable[str]) -> str:
    return ",".join(name for name in columns if name not in optional)


def _plain(name: str) -> str:
    """A column's name in small letters, without unit, and with _ for blanks and dashes."""
    return _UNIT.sub("", re.sub(r"[\s_-]+", "_", name.strip().lower()))


def _row(cells: list[str], column: dict[str, int], num_columns: int, delimiter: str = "") -> dict[str, str]:
    row = {name: cells[at].strip() if at < len(cells) else "" for name, at in column.items()}
    too_many = len(cells) > num_columns and any(map(str.strip, cells[num_columns:]))
    row[TOO_MANY] = f"{len(cells)} cells for {num_columns} columns" if too_many else ""
    # a label may have a line feed; what an open quotation mark swallows of the next rows has all their delimiters too
    swallowed = [line for cell in row.values() if "\n" in cell for line in cell.split("\n")[1:]]
    if delimiter and any(line.count(delimiter) >= num_columns - 1 for line in swallowed):
        row[TOO_MANY] = SWALLOWED
    return row
