"""A table `video,start,end,label[,subset][,tier][,score][,annotated]`, with any usual separator; times or frames."""

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import annotated_time, table_times, tables
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, OPTIONAL_COLUMNS
from actloc.annotations.times import number_of
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
    keeps_annotated_time: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By the names of its columns, in the first line that has any text."""
        names = set(tables.header_of(file.head))
        has_names = all(names & {*COLUMNS[one]} for one in _NAMES)
        return not (file.is_xml or file.is_json) and table_times.has_ends(names) and has_names

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line; `unit` and `first_frame` say what the numbers are."""
        columns, unit = table_times.columns_and_unit(tables.header_of(file.head), reading.settings)
        listed = Listed()
        for line, cells in tables.rows_of(file.path, file.text, columns, OPTIONAL_COLUMNS):
            where, wrong = f"{file.path}:{line}", cells[tables.TOO_MANY]
            if wrong == tables.SWALLOWED:
                listed.problems.append(Problem(where, wrong))
            elif wrong:  # cells may be in the wrong columns
                listed.leave_out(where, wrong)
            elif (annotated := annotated_time.parsed(cells.get("annotated", ""))) is None:
                found = f"annotated: found {cells['annotated']!r}"
                listed.problems.append(Problem(where, f"{found}, expected intervals in seconds, as 0-60;120-180"))
            elif annotated and not any(cells[name] for name in ("start", "end", "label")):
                subset = _text(cells.get("subset", ""))
                row = Row(_text(cells["video"]), 0.0, 0.0, "", where, subset, annotated=annotated, has_action=False)
                listed.rows.append(row)
            else:
                listed.rows.append(_row(where, cells, unit, reading, annotated))
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One file, with columns for subsets, scores and annotated time where there are any.

        The annotated time of a video is in the first of its rows; without an action it has a row of its own.
        """
        has_subsets = any(video.subset for video in videos)
        has_scores = any(one.score is not None for video in videos for one in video.segments)
        has_annotated = any(video.annotated for video in videos)
        optional = {"subset": has_subsets, "score": has_scores, "annotated": has_annotated}
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["video", "start", "end", "label", *(name for name, is_there in optional.items() if is_there)])
        for video in videos:
            annotated, subset = annotated_time.written(video.annotated), [_cell(video.subset)] * has_subsets
            for one in video.segments:
                cells = [_cell(video.name), f"{one.start_s:.6f}", f"{one.end_s:.6f}", _cell(one.label)]
                score = "" if one.score is None else f"{one.score:.6g}"
                writer.writerow([*cells, *subset, *[score] * has_scores, *[annotated] * has_annotated])
                annotated = ""
            if annotated and not video.segments:
                writer.writerow([_cell(video.name), "", "", "", *subset, *[""] * has_scores, annotated])
        return {target: stream.getvalue()}


def _row(
    where: str, cells: dict[str, str], unit: str, reading: Reading, annotated: tuple[annotated_time.Span, ...]
) -> Row:
    video, label = (sys.intern(_text(cells[name])) for name in _NAMES)  # each once, for millions of rows
    start_s, end_s, unusable = table_times.times_of(cells["start"], cells["end"], unit, video, reading)
    score, tier, subset = number_of(cells.get("score", "")), cells.get("tier", ""), _text(cells.get("subset", ""))
    return Row(video, start_s, end_s, label, where, subset, tier, False, score, unusable, annotated)


def _cell(text: str) -> str:
    """Text that a spreadsheet does not execute: an apostrophe comes before what it would take for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text


def _text(cell: str) -> str:
    """What `_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
