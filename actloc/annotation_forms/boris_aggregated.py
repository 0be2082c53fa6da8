"""BORIS' export of aggregated events: a table with a row for each state, with start and stop, and each point."""

from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import tables
from actloc.annotations.boris import Media, sources
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed
from actloc.annotations.source_file import SourceFile
from actloc.annotations.times import number_of, seconds_of


class Config(FormConfig):
    """Times are those of the observation: those of its media together."""

    title: ClassVar[str] = "aggregated events of BORIS"

    def recognises(self, file: SourceFile) -> bool:
        """By the names of its columns."""
        names = set(tables.header_of(file.head))
        return not file.is_json and {"observation_id", "behavior", "behavior_type", "start", "stop"} <= names

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line."""
        listed = Listed()
        lines, _ = tables.cells_of(file.path, file.text)
        names = tables.header_of(file.head)
        next(lines, None)  # the names
        for line, cells in lines:
            row = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            where = f"{file.path}:{line}"
            start_s, stop_s = seconds_of(row.get("start", "")), seconds_of(row.get("stop", ""))
            is_point = row.get("behavior_type", "").upper().startswith("POINT")
            label = row.get("behavior", "")
            media = _media(row, reading)
            if media is None:
                what = row.get("observation_type") or row.get("source") or "it"
                listed.leave_out(where, f"{what} names no medium")
            elif start_s is None or (stop_s is None and not is_point):
                listed.leave_out(where, f"cannot read the times {row.get('start')!r} and {row.get('stop')!r}")
            elif not label:
                listed.leave_out(where, "it has no label")
            else:
                offset_s = number_of(row.get("time_offset", "")) or 0.0
                begin_s, end_s = start_s - offset_s, (start_s if is_point else stop_s or 0.0) - offset_s
                media.add(listed, label, begin_s, end_s, where, is_point=is_point)
        return listed


def _media(row: dict[str, str], reading: Reading) -> Media | None:
    names = sources(row.get("source", ""))
    one = row.get("media_file_name") or row.get("media_file") or ""
    names = names or [name.strip() for name in one.split(";") if name.strip() and name != "NA"]
    stated = [number_of(text.strip()) for text in row.get("media_duration", "").split(";")]
    lengths = stated if len(stated) == len(names) else [None] * len(names)
    return Media(names, lengths, reading) if names else None
