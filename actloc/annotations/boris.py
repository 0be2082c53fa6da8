"""What all files of BORIS have in common: states with a start and a stop, and media that run on after each other."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row

_PLAYER = re.compile(r"player #1:\s*(.*?)\s*(?:\bplayer #\d+:.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Event:
    """An event of an observation, at a time of its media together."""

    time_s: float
    state: tuple[str, ...]
    """Observation, subject, code and modifiers: starts and stops of the same belong together."""
    label: str
    where: str
    kind: str
    """`state` where starts and stops alternate, else `start`, `stop` or `point`."""


class Media:
    """The media of an observation's first player, one after the other."""

    def __init__(self, names: Sequence[str], lengths_s: Sequence[float | None], reading: Reading) -> None:
        """Lengths that are not stated are those of the videos, where they are at hand."""
        self.names = list(names)
        self.lengths_s = []
        for name, stated in zip(names, lengths_s, strict=True):
            facts = reading.facts(name) if stated is None else None
            self.lengths_s.append(facts.duration_s if facts else stated)

    def add(self, listed: Listed, label: str, start_s: float, end_s: float, where: str, *, is_point: bool) -> None:
        """Adds the segment to the media that it is in, cut where one ends and the next begins."""
        begin_s, last = 0.0, len(self.names) - 1
        parts = []
        for number, (name, length_s) in enumerate(zip(self.names, self.lengths_s, strict=True)):
            if length_s is None and number < last:
                if end_s <= begin_s:
                    break
                listed.leave_out(where, f"the length of {name} is not known, and other media follow it")
                return
            after_s = begin_s + (length_s or 0.0) if number < last else float("inf")
            if start_s < after_s and (end_s > begin_s or (is_point and end_s >= begin_s)):
                within = max(start_s, begin_s) - begin_s, min(end_s, after_s) - begin_s
                parts.append((name, *within))
            begin_s = after_s
        for name, from_s, to_s in parts:
            listed.rows.append(Row(name, from_s, to_s, label, where, is_point=is_point))
        if not parts:
            listed.leave_out(where, f"{label} from {start_s:g} to {end_s:g} s is outside its media or has no length")
        elif start_s < 0:
            listed.notes.append(f"{where}: {label} starts {-start_s:g} s before {self.names[0]}, and is cut there")
        if len(parts) > 1:
            names = " and ".join(name for name, _, _ in parts)
            listed.notes.append(f"{where}: {label} is in {names}, and is cut where they meet")
        for name, length_s in zip(self.names, self.lengths_s, strict=True):
            if length_s:
                listed.durations_s[name] = length_s


def sources(text: str) -> list[str]:
    """The media of the first player in `player #1:a.mp4;b.mp4`."""
    match = _PLAYER.fullmatch(text.strip())
    return [name.strip() for name in match[1].strip("|; ").split(";") if name.strip()] if match else []


def _ordered(events: Iterable[Event], opened: Collection[tuple[str, ...]]) -> list[Event]:
    """Events of one time: a state that is open stops before it starts again, whichever row is first."""
    return sorted(events, key=lambda event: (event.kind == "start") == (event.state in opened))


def pair(events: Sequence[Event], media: Media, listed: Listed) -> None:
    """Adds the states and points of one observation; what has no start or no stop is left out."""
    opened: dict[tuple[str, ...], Event] = {}
    in_order = sorted(events, key=lambda event: event.time_s)
    for event in (one for _, group in groupby(in_order, lambda event: event.time_s) for one in _ordered(group, opened)):
        start = opened.get(event.state)
        if event.kind == "point":
            media.add(listed, event.label, event.time_s, event.time_s, event.where, is_point=True)
        elif start is None and event.kind == "stop":
            listed.leave_out(event.where, f"{event.label} stops at {event.time_s:g} s and did not start")
        elif start is None:
            opened[event.state] = event
        elif event.kind == "start":
            listed.leave_out(start.where, f"{start.label} starts at {start.time_s:g} s and does not stop")
            opened[event.state] = event
        else:
            del opened[event.state]
            media.add(listed, start.label, start.time_s, event.time_s, start.where, is_point=False)
    for start in opened.values():
        listed.leave_out(start.where, f"{start.label} starts at {start.time_s:g} s and does not stop")
