"""A JSON list of {"video", "start", "end", "label"} in seconds, as Create ML has it."""

from typing import Any, ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import tables
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, OPTIONAL_COLUMNS
from actloc.annotations.times import number_of, seconds_of


class Config(FormConfig):
    """The keys may have the names that the columns of a table may have; what is wrong in it is a problem."""

    title: ClassVar[str] = "a list of actions, as of Create ML"
    is_written_by_hand: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its records, which have a video and plain values."""
        content = file.json
        return isinstance(content, list) and bool(content) and all(_is_record(record) for record in content)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Record by record."""
        listed = Listed()
        for number, cells in tables.read_records(file.path, file.json, COLUMNS, OPTIONAL_COLUMNS):
            start_s, end_s = seconds_of(cells["start"]), seconds_of(cells["end"])
            problem = "" if cells["label"] else "the label is empty"
            if start_s is None or end_s is None:
                bad = cells["start"] if start_s is None else cells["end"]
                problem = f"cannot read the time {bad!r}; expected seconds or H:MM:SS"
            listed.rows.append(
                Row(
                    cells["video"],
                    start_s or 0.0,
                    end_s or 0.0,
                    cells["label"],
                    f"{file.path}: [{number}]",
                    cells.get("subset", ""),
                    cells.get("tier", ""),
                    score=number_of(cells.get("score", "")),
                    problem=problem,
                )
            )
        return listed


def _is_record(record: Any) -> bool:  # Any: parsed JSON
    return (
        isinstance(record, dict)
        and "video" in record
        and not any(isinstance(value, dict | list) for value in record.values())
    )
