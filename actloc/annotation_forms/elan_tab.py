"""ELAN's export of annotations to text without columns for the video: tier, begin, end, duration, label, by tabs."""

import re
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import tables
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, OPTIONAL_COLUMNS
from actloc.annotations.times import seconds_of
from actloc.annotations.video_names import without_suffix

_CLOCK = re.compile(r"\d+:\d\d:\d\d[.,]\d+")
_TIME = re.compile(r"\d+([.,:]\d+)*")


class Config(FormConfig):
    """With a line of names or without one. A table that also has a column File is read as any other table."""

    title: ClassVar[str] = "a table exported by ELAN"

    def recognises(self, file: SourceFile) -> bool:
        """By its tabs and times; the first cell of a line is no number."""
        names = tables.header_of(file.head)
        if _is_header(names):
            return not set(names) & {*COLUMNS["video"]}
        first = next((line for line in file.head.split("\n") if line.strip()), "")
        return bool(_parts(first.split("\t")))

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The video is that of the file's name, unless the last cell of a line without names is one."""
        listed = Listed()
        if _is_header(tables.header_of(file.head)):
            columns = {name: names for name, names in COLUMNS.items() if name != "video"}
            for line, cells in tables.rows_of(file.path, file.text, columns, OPTIONAL_COLUMNS):
                where, tier = f"{file.path}:{line}", cells.get("tier", "")
                _add(listed, where, (file.video, cells["start"], cells["end"], cells["label"], tier))
            return listed
        for number, text in enumerate(file.text.split("\n"), 1):
            parts = _parts(text.split("\t"))
            if parts:
                _add(listed, f"{file.path}:{number}", (parts[0] or file.video, *parts[1:]))
            elif text.strip():
                listed.leave_out(f"{file.path}:{number}", "expected tier, begin, end, duration and label")
        return listed


def _is_header(names: list[str]) -> bool:
    return all(set(names) & {*COLUMNS[one]} for one in ("start", "end", "label")) and (
        "tier" in names or any(name.startswith("begin_time") for name in names)
    )


def _parts(cells: list[str]) -> tuple[str, str, str, str, str] | None:
    """Video (empty if it is not named), begin, end, label and tier of a line without names; None for other lines."""
    cells = [cell.strip() for cell in cells]
    video = cells.pop() if len(cells) > 4 and cells[-1] != without_suffix(cells[-1]) else ""
    times = [cell for cell in cells[1:-1] if _TIME.fullmatch(cell)]
    clocks = [cell for cell in times if _CLOCK.fullmatch(cell)]
    if len(cells) < 4 or len(times) < 2 or not cells[0] or _TIME.fullmatch(cells[0]):
        return None
    # begin, end and maybe duration, each in one or several ways of writing
    ways = len(times) // 3 if len(times) % 3 == 0 else len(times) // 2
    begin, end = clocks[:2] if len(clocks) >= 2 else (times[0], times[ways])
    return video, begin, end, cells[-1], cells[0]


def _add(listed: Listed, where: str, parts: tuple[str, ...]) -> None:
    video, begin, end, label, tier = parts
    start_s, end_s = seconds_of(begin), seconds_of(end)
    if start_s is None or end_s is None:
        listed.leave_out(where, f"cannot read the times {begin!r} and {end!r}")
    elif not label:
        listed.leave_out(where, "it has no label")
    else:
        listed.rows.append(Row(video, start_s, end_s, label, where, tier=tier))
