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
    """The keys may have the names that the columns of a table may have."""

    title: ClassVar[str] = "a list of actions, as of Create ML"
    is_written_by_hand: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its records, most of which have a video and plain values."""
        content = file.json
        return isinstance(content, list) and 2 * sum(map(_is_record, content)) > len(content)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Record by record."""
        listed, places = Listed(), []
        for number, record in enumerate(file.json):
            if _is_record(record):
                places.append(number)
            else:
                listed.leave_out(f"{file.path}: [{number}]", "expected an object with video, start, end and label")
        records = [file.json[number] for number in places]
        for index, cells in tables.read_records(file.path, records, COLUMNS, OPTIONAL_COLUMNS):
            start_s, end_s = seconds_of(cells["start"]), seconds_of(cells["end"])
            unusable = ""
            if start_s is None or end_s is None:
                bad = cells["start"] if start_s is None else cells["end"]
                unusable = f"cannot read the time {bad!r}; expected seconds or H:MM:SS"
            listed.rows.append(
                Row(
                    cells["video"],
                    start_s or 0.0,
                    end_s or 0.0,
                    cells["label"],
                    f"{file.path}: [{places[index]}]",
                    cells.get("subset", ""),
                    cells.get("tier", ""),
                    score=number_of(cells.get("score", "")),
                    unusable=unusable,
                )
            )
        return listed


def _is_record(record: Any) -> bool:  # Any: parsed JSON
    return (
        isinstance(record, dict)
        and "video" in record
        and not any(isinstance(value, dict | list) for value in record.values())
    )
