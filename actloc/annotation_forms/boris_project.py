"""BORIS' project (.boris, also packed with gzip): observations of media, with events and the behaviours they show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from actloc import console
from actloc.annotation_forms.base import FormConfig
from actloc.annotations.boris import Event, Media, pair
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, WrittenVideo, labels_of, without_overlaps
from actloc.annotations.source_file import SourceFile
from actloc.annotations.times import number_of

_DATE = "2000-01-01T00:00:00"


class Config(FormConfig):
    """States are paired in the order of time, per subject, code and modifiers: a start, then a stop."""

    title: ClassVar[str] = "a project of BORIS"
    short_name: ClassVar[str] = "boris"
    suffix: ClassVar[str] = ".boris"

    def recognises(self, file: SourceFile) -> bool:
        """By its observations and behaviours."""
        return isinstance(file.json, dict) and {"observations", "behaviors_conf"} <= file.json.keys()

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Observation by observation; those that were made live, or of pictures, have no video."""
        listed, kinds = Listed(), dict[str, str]()
        for behaviour in _dict(file.json["behaviors_conf"]).values():
            kind = str(_dict(behaviour).get("type", "")).lower()
            kinds[str(_dict(behaviour).get("code", ""))] = "state" if kind.startswith("state") else "point"
        for name, observation in _dict(file.json["observations"]).items():
            _read(listed, f"{file.path}: observation {name}", _dict(observation), kinds, reading)
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """A project with an observation for each video; overlapping states of one code have subjects of their own."""
        events = {video.id: _events(video) for video in videos}
        subjects = sorted({event[1] for listed in events.values() for event in listed if event[1]})
        content = {
            "time_format": "hh:mm:ss",
            "project_date": _DATE,
            "project_name": "actloc",
            "project_description": "",
            "project_format_version": "7.0",
            "subjects_conf": {
                str(number): {"key": "", "name": name, "description": ""} for number, name in enumerate(subjects)
            },
            "behaviors_conf": {str(number): _behaviour(label) for number, label in enumerate(labels_of(videos))},
            "observations": {video.id: _observation(video, events[video.id]) for video in videos},
            "behavioral_categories": [],
            "independent_variables": {},
            "coding_map": {},
            "behaviors_coding_map": [],
            "converters": {},
        }
        return {target: json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}


def _read(listed: Listed, where: str, observation: dict[str, Any], kinds: dict[str, str], reading: Reading) -> None:
    rows = _list(observation.get("events"))
    kind = str(observation.get("type", "MEDIA")).upper()
    names = [str(name) for name in _list(_dict(observation.get("file")).get("1"))]
    if kind != "MEDIA" or not names:
        what = {"LIVE": "it was made live", "IMAGES": "it is of pictures"}.get(kind, "its first player has no medium")
        listed.leave_out(where, f"{what}, so its {console.count(len(rows), 'event')} cannot be placed in a video")
        return
    about = _dict(observation.get("media_info"))
    lengths, rates = _dict(about.get("length")), _dict(about.get("fps"))
    listed.rates |= {name: rate for name in names if (rate := _positive(rates.get(name)))}
    media = Media(names, [_positive(lengths.get(name)) for name in names], reading)
    offset_s = _number(observation.get("time offset")) or 0.0
    if offset_s:
        listed.notes.append(f"{where} has a time offset of {offset_s:g} s, which is taken off its times")
    events = []
    for number, row in enumerate(rows):
        place = f"{where}, event {number + 1}"
        cells = _list(row)
        time_s = _number(cells[0]) if len(cells) >= 3 else None
        code = str(cells[2]) if len(cells) >= 3 else ""
        if time_s is None:
            listed.leave_out(place, f"cannot read {row!r:.60}")
        elif code not in kinds:
            listed.leave_out(place, f"the project has no behaviour {code!r}")
        else:
            state = str(cells[1]), code, str(cells[3]) if len(cells) > 3 else ""
            events.append(Event(time_s - offset_s, state, code, place, kinds[code]))
    pair(events, media, listed)


def _events(video: WrittenVideo) -> list[tuple[float, str, str, str, str]]:
    events = []
    by_label: dict[str, list[Any]] = {}
    for one in video.in_ms:
        by_label.setdefault(one[2].label, []).append(one)
    for label, segments in by_label.items():
        tracks = without_overlaps(segments)
        for number, track in enumerate(tracks, 1):
            subject = str(number) if len(tracks) > 1 else ""
            for start_ms, end_ms, _ in track:
                events += [(time_ms / 1000, subject, label, "", "") for time_ms in (start_ms, end_ms)]
    return sorted(events, key=lambda event: event[0])


def _behaviour(label: str) -> dict[str, str]:
    others = ("key", "description", "color", "category", "modifiers", "excluded", "coding map")
    return {"type": "State event", "code": label, **dict.fromkeys(others, "")}


def _observation(video: WrittenVideo, events: list[tuple[float, str, str, str, str]]) -> dict[str, Any]:
    known = {"length": video.duration_s, "fps": video.fps}
    return {
        "file": {"1": [video.name], **{str(player): [] for player in range(2, 9)}},
        "type": "MEDIA",
        "date": _DATE,
        "description": "",
        "time offset": 0.0,
        "events": [list(event) for event in events],
        "observation time interval": [0, 0],
        "independent_variables": {},
        "close_behaviors_between_videos": False,
        "media_info": {
            **{key: {video.name: value} if value else {} for key, value in known.items()},
            "hasVideo": {video.name: True},
            "hasAudio": {video.name: False},
            "offset": {"1": 0.0},
        },
    }


def _number(value: Any) -> float | None:  # Any: parsed JSON; BORIS also writes numbers as text
    if isinstance(value, str):
        return number_of(value.strip())
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _positive(value: Any) -> float | None:  # Any: parsed JSON
    number = _number(value)
    return number if number is not None and number > 0 else None


def _list(value: Any) -> list[Any]:  # Any: parsed JSON
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:  # Any: parsed JSON
    return value if isinstance(value, dict) else {}
