"""ELAN's export of annotations to text without columns for the video: tier, begin, end, duration, label, by tabs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import table_times, tables
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, OPTIONAL_COLUMNS
from actloc.annotations.times import seconds_of
from actloc.annotations.video_names import without_suffix
from actloc.errors import UserError

_CLOCK = re.compile(r"\d+:\d\d:\d\d[.,]\d+")
_TIME = re.compile(r"\d+([.,:]\d+)*")


@dataclass(frozen=True)
class _Line:
    """A line without names; begin and end as each column has them: a clock, seconds, milliseconds."""

    video: str
    """Empty if it is not named."""
    begins: list[str]
    ends: list[str]
    label: str
    tier: str


class Config(FormConfig):
    """With a line of names or without one. A table that also has a column File is read as any other table."""

    title: ClassVar[str] = "a table exported by ELAN"

    def recognises(self, file: SourceFile) -> bool:
        """By its tabs and times; the first cell of a line is no number."""
        names = tables.header_of(file.head)
        if _is_header(names):
            return not set(names) & {*COLUMNS["video"]}
        first = next((line for line in file.head.split("\n") if line.strip()), "")
        return _line(first) is not None

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The video is that of the file's name, unless the last cell of a line without names is one.

        Raises UserError where nothing shows whether whole numbers are seconds or milliseconds.
        """
        names = tables.header_of(file.head)
        if not _is_header(names):
            return _read_lines(file, reading)
        listed = Listed()
        columns, unit = table_times.columns_and_unit(names, reading.settings)
        del columns["video"]
        for line, cells in tables.rows_of(file.path, file.text, columns, OPTIONAL_COLUMNS):
            where, tier = f"{file.path}:{line}", cells.get("tier", "")
            start_s, end_s, why = table_times.times_of(cells["start"], cells["end"], unit, file.video, reading)
            listed.rows.append(Row(file.video, start_s, end_s, cells["label"], where, tier=tier, unusable=why))
        return listed


def _is_header(names: Sequence[str]) -> bool:
    is_elans = "tier" in names or any(name.startswith("begin_time") for name in names)
    return is_elans and table_times.has_ends(names) and bool(set(names) & {*COLUMNS["label"]})


def _line(text: str) -> _Line | None:
    """None for what is no such line."""
    cells = [cell.strip() for cell in text.split("\t")]
    video = cells.pop() if len(cells) > 4 and cells[-1] != without_suffix(cells[-1]) else ""
    times = [cell for cell in cells[1:-1] if _TIME.fullmatch(cell)]
    if len(cells) < 4 or len(times) < 2 or not cells[0] or _TIME.fullmatch(cells[0]):
        return None
    # begin, end and maybe duration, each in one or several ways of writing
    ways = len(times) // 3 if len(times) % 3 == 0 else len(times) // 2
    clocks = [cell for cell in times if _CLOCK.fullmatch(cell)]
    if len(clocks) >= 2:
        return _Line(video, clocks[:1], clocks[1:2], cells[-1], cells[0])
    return _Line(video, times[:ways], times[ways : 2 * ways], cells[-1], cells[0])


def _read_lines(file: SourceFile, reading: Reading) -> Listed:
    listed, found = Listed(), list[tuple[str, _Line]]()
    for number, text in enumerate(file.text.split("\n"), 1):
        line, where = _line(text), f"{file.path}:{number}"
        if line:
            found.append((where, line))
        elif text.strip():
            listed.leave_out(where, "expected tier, begin, end, duration and label")
    unit = reading.settings.unit
    is_whole = all(one.isdecimal() for _, line in found for one in (*line.begins, *line.ends))
    if unit is None and is_whole and not any(_has_both_units(line) for _, line in found):
        raise _unknown_unit(file, [line for _, line in found], reading)
    for where, line in found:
        begin, end = _in_seconds(line)
        of_line = unit if unit and begin.isdecimal() and end.isdecimal() and not _has_both_units(line) else "seconds"
        video = line.video or file.video
        start_s, end_s, why = table_times.times_of(begin, end, of_line, video, reading)
        listed.rows.append(Row(video, start_s, end_s, line.label, where, tier=line.tier, unusable=why))
    return listed


def _has_both_units(line: _Line) -> bool:
    """Whether the line has the same instants in seconds and in milliseconds."""
    values = [seconds_of(one) or 0.0 for one in line.ends]
    return any(one > 0 and abs(other - 1000 * one) < 1 for one in values for other in values)


def _in_seconds(line: _Line) -> tuple[str, str]:
    """Begin and end as the column of seconds has them: where there are milliseconds too, these are larger."""
    values = [seconds_of(one) for one in line.ends]
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    place = min(known)[1] if known else 0
    return line.begins[place], line.ends[place]


def _unknown_unit(file: SourceFile, lines: Sequence[_Line], reading: Reading) -> UserError:
    """The error that compares the times with the length of the video, if it is at hand."""
    setting, last = f"{reading.prefix}unit", max(lines, key=lambda line: int(line.ends[0]))
    end, facts = int(last.ends[0]), reading.facts(last.video or file.video)
    fix = f"Set {setting}=milliseconds or {setting}=seconds, or export the times as hh:mm:ss.ms too."
    seen = ""
    if facts and facts.duration_s and end / 1000 <= facts.duration_s + 0.5 < end:
        seen = f" The last one is {end}, and the video has {facts.duration_s:.1f} s: they look like milliseconds."
        fix = f"Set {setting}=milliseconds"
    return UserError(
        f"The times of {file.path} are whole numbers without a unit.{seen}",
        "Expected columns with names, or times with decimals (seconds) or as hh:mm:ss.ms.",
        fix,
    )
