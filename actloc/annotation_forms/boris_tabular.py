"""BORIS' export of tabular events: a table with a row for each start, stop and point.

Files of BORIS 7 begin with lines about the observation, and have the kind of event in a column `Status`.
"""

from collections.abc import Sequence
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import tables
from actloc.annotations.boris import Event, Media, pair, sources
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed
from actloc.annotations.source_file import SourceFile
from actloc.annotations.times import number_of, seconds_of

_MOST_LINES_BEFORE = 200


class Config(FormConfig):
    """A start and the next stop of the same observation, subject, behaviour and modifiers are a segment."""

    title: ClassVar[str] = "tabular events of BORIS"

    def recognises(self, file: SourceFile) -> bool:
        """By the names of its columns, in one of the first lines."""
        if file.is_json or file.is_xml or "behavior" not in file.head.lower():
            return False
        return any(_is_header(tables.header_of(line)) for line in file.head.split("\n")[:_MOST_LINES_BEFORE])

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line, then the pairs of each observation."""
        listed = Listed()
        all_lines = file.text.split("\n")
        begin = next(
            (number for number, line in enumerate(all_lines) if _is_header(tables.header_of(line))), len(all_lines)
        )
        before = [line.replace("\t", ",").split(",") for line in all_lines[:begin]]
        observation = next((cells[1] for cells in before if cells[0] == "Observation id" and len(cells) > 1), "")
        lines, _ = tables.cells_of(file.path, "\n".join(all_lines[begin:]))
        names = tables.header_of(all_lines[begin]) if begin < len(all_lines) else []
        events: dict[str, list[Event]] = {}
        media: dict[str, list[dict[str, str]]] = {}
        next(lines, None)  # the names
        for line, cells in lines:
            row = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            event = _event(row, f"{file.path}:{begin + line}", row.get("observation_id", observation), listed)
            if event is not None:
                events.setdefault(event.state[0], []).append(event)
                media.setdefault(event.state[0], []).append(row)
        for name, found in events.items():
            players = _media(media[name], reading)
            if players is None:
                listed.leave_out(f"{file.path}: observation {name}", f"it names no medium: {len(found)} events")
            else:
                pair(found, players, listed)
        return listed


def _is_header(names: Sequence[str]) -> bool:
    return {"time", "behavior"} <= set(names) and bool({"behavior_type", "status"} & set(names))


def _event(row: dict[str, str], where: str, observation: str, listed: Listed) -> Event | None:
    time_s, label = seconds_of(row.get("time", "")), row.get("behavior", "")
    kind = next(
        (one.lower() for one in (row.get("status", ""), row.get("behavior_type", "")) if one.lower() in _KINDS), ""
    )
    if time_s is None:
        listed.leave_out(where, f"cannot read the time {row.get('time')!r}")
    elif not label:
        listed.leave_out(where, "it has no label")
    elif not kind:
        listed.leave_out(where, f"{row.get('behavior_type') or row.get('status')!r} is not START, STOP or POINT")
    else:
        modifiers = [cell for name, cell in row.items() if name.startswith("modifier")]
        state = (observation, row.get("subject", ""), label, *modifiers)
        return Event(time_s - (number_of(row.get("time_offset", "")) or 0.0), state, label, where, kind)
    return None


_KINDS = ("start", "stop", "point")


def _media(rows: Sequence[dict[str, str]], reading: Reading) -> Media | None:
    names = sources(rows[0].get("source", ""))
    if not names:  # older files name the medium of each event
        columns = ("media_file_name", "media_file_path", "media_file")
        listed = [next((row[one] for one in columns if row.get(one)), "") for row in rows]
        names = [name for name in dict.fromkeys(listed) if name and name != "NA"]
    stated = [number_of(text.strip()) for text in rows[0].get("media_duration", "").split(";")]
    if len(names) == 1 and stated == [None]:
        stated = [number_of(rows[0].get("total_length", ""))]
    lengths = stated if len(stated) == len(names) else [None] * len(names)
    return Media(names, lengths, reading) if names else None
