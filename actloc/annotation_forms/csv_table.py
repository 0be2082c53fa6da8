"""A table `video,start,end,label[,subset][,tier][,score]`, with commas, semicolons or tabs; times or frames."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import tables
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, FRAME_COLUMNS, OPTIONAL_COLUMNS
from actloc.annotations.times import number_of, seconds_of
from actloc.errors import Problem

_NAMES = ("video", "label")
_FORMULA = re.compile(r"'*[=+@\t\r-]")
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Config(FormConfig):
    """Rows that cannot be used are left out, but for those of an open quotation mark, which hides other rows."""

    title: ClassVar[str] = "a table of actions"
    reads_any_text: ClassVar[bool] = True
    is_written_by_hand: ClassVar[bool] = True
    short_name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def recognises(self, file: SourceFile) -> bool:
        """By the names of its columns, in the first line that has any text."""
        names = set(tables.header_of(file.head))
        has_ends = all(names & {*COLUMNS[end], *FRAME_COLUMNS[end]} for end in ("start", "end"))
        return not (file.is_xml or file.is_json) and has_ends and all(names & {*COLUMNS[one]} for one in _NAMES)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line; `unit` and `first_frame` say what the numbers are."""
        names, settings = set(tables.header_of(file.head)), reading.settings
        are_frames = not all(names & {*COLUMNS[end]} for end in FRAME_COLUMNS)
        unit = settings.unit or ("frames" if are_frames and settings.annotations_fps else "")
        columns = dict(COLUMNS)
        for end, of_frames in FRAME_COLUMNS.items():
            if unit == "frames":
                columns[end] = (*of_frames, *COLUMNS[end])
            elif unit == "seconds":
                columns[end] = (*COLUMNS[end], *of_frames)
        listed = Listed()
        for line, cells in tables.rows_of(file.path, file.text, columns, OPTIONAL_COLUMNS):
            where, wrong = f"{file.path}:{line}", cells[tables.TOO_MANY]
            if wrong == tables.SWALLOWED:
                listed.problems.append(Problem(where, wrong))
            elif wrong:  # cells may be in the wrong columns
                listed.leave_out(where, wrong)
            else:
                listed.rows.append(_row(where, cells, reading if unit == "frames" else None))
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One file, with a column for subsets and one for scores where there are any."""
        has_subsets = any(video.subset for video in videos)
        has_scores = any(one.score is not None for video in videos for one in video.segments)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["video", "start", "end", "label", *["subset"] * has_subsets, *["score"] * has_scores])
        for video in videos:
            for one in video.segments:
                cells = [_cell(video.name), f"{one.start_s:.6f}", f"{one.end_s:.6f}", _cell(one.label)]
                score = "" if one.score is None else f"{one.score:.6g}"
                writer.writerow([*cells, *[_cell(video.subset)] * has_subsets, *[score] * has_scores])
        return {target: stream.getvalue()}


def _row(where: str, cells: dict[str, str], frames: Reading | None) -> Row:
    """`frames` reads the numbers of frames; None: they are seconds."""
    video, label, unusable = _text(cells["video"]), _text(cells["label"]), ""
    read = _frame if frames else seconds_of
    start, end = read(cells["start"]), read(cells["end"])
    if start is None or end is None:
        bad = cells["start"] if start is None else cells["end"]
        expected = "the whole number of a frame" if frames else "seconds or H:MM:SS"
        unusable = f"cannot read the time {bad!r}; expected {expected}"
    elif frames:
        start, end = frames.seconds(video, start, end, 0)
    score, tier, subset = number_of(cells.get("score", "")), cells.get("tier", ""), _text(cells.get("subset", ""))
    return Row(video, start or 0.0, end or 0.0, label, where, subset, tier, score=score, unusable=unusable)


def _frame(text: str) -> float | None:
    """The number of a frame; None for other text and for what is between two frames."""
    number = number_of(text)
    return number if number is not None and number.is_integer() else None


def _cell(text: str) -> str:
    """Text that a spreadsheet does not execute: an apostrophe comes before what it would take for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text


def _text(cell: str) -> str:
    """What `_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
