"""Reads the actions that users list: a table `video,start,end,label[,subset]`, or a JSON like ActivityNet's."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, is_repeat
from actloc.annotations.subsets import meanings
from actloc.annotations.tables import TOO_MANY, Rows, read_records, read_table
from actloc.annotations.video_names import VideoNames
from actloc.errors import Problem
from actloc.files import is_unsafe_id

_COLUMNS = {
    "video": ("video", "video_id", "video_name", "id", "file", "filename", "file_name", "path", "file_path", "name"),
    "start": (
        "start",
        "start_time",
        "begin",
        "begin_time",
        "t_start",
        "from",
        "begin_time_ss.msec",
        "begin_time_hh:mm:ss.ms",
    ),
    "end": ("end", "end_time", "stop", "stop_time", "t_end", "to", "end_time_ss.msec", "end_time_hh:mm:ss.ms"),
    "label": ("label", "class", "category", "action", "activity", "annotation"),
    "subset": ("subset", "split"),
}
"""The names of ELAN's export of annotations to text are the last ones of each."""


@dataclass
class OwnActions:
    """The annotated videos by id, the place of each action in its file, and what is wrong."""

    videos: dict[str, AnnotatedVideo] = field(default_factory=dict)
    places: dict[tuple[str, int], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(path: Path, subsets: list[str], names: VideoNames, absent: str) -> OwnActions:
    """Reads a file, without actions that it lists twice, which it warns of.

    `subsets` are those that the settings name. `names` knows the videos that there are; `absent` begins the problem of
    a name that none has.
    """
    return _without_repeats(path, _read(path, subsets, names, absent))


def _read(path: Path, subsets: list[str], names: VideoNames, absent: str) -> OwnActions:
    if path.suffix.lower() != ".json":
        return _of_rows(path, read_table(path, _COLUMNS, ["subset"], "dataset.annotations"), subsets, names, absent)
    content = files.read_json(path, keep_odd_numbers=True)  # each is reported with its place
    if (
        isinstance(content, list)
        and content
        and all(isinstance(record, dict) and "video" in record for record in content)
    ):
        return _of_rows(path, read_records(path, content, _COLUMNS), subsets, names, absent)
    return _of_json(path, subsets, names, absent)


def _of_json(path: Path, subsets: list[str], names: VideoNames, absent: str) -> OwnActions:
    annotations, problems = annotation_form.read_own(path)
    meant = meanings(subsets)
    result = OwnActions(problems=problems)
    written: dict[str, str] = {}
    for name, video in annotations.videos.items():
        where = f"database[{name!r}]"
        video_id = names.find(name)
        if is_unsafe_id(name) or video_id is None:
            unsafe = f"the id {name!r} is empty or would leave its folder"
            problems.append(Problem(where, unsafe if is_unsafe_id(name) else f"{absent} {name}{names.nearest(name)}"))
        elif written.setdefault(video_id, name) != name:
            problems.append(Problem(where, f"{name} is the same video as {written[video_id]}"))
        else:
            actions = tuple(replace(action, label=_label(action.label)) for action in video.actions)
            subset = meant.get(video.subset.lower(), video.subset)
            result.videos[video_id] = replace(video, id=video_id, subset=subset, actions=actions)
            for number in range(len(video.actions)):
                result.places[video_id, number] = f"{where}.annotations[{number}]"
    return result


def _of_rows(path: Path, rows: Rows, subsets: list[str], names: VideoNames, absent: str) -> OwnActions:
    result = OwnActions()
    problems = result.problems
    actions: dict[str, list[Action]] = {}
    subset_of: dict[str, str] = {}
    written: dict[str, str] = {}  # cells with a path or an extension: two videos with one id would differ in them
    reported: set[str] = set()
    meant, unknown = meanings(subsets), Counter[str]()
    first_with: dict[str, str] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        video_id = names.find(row["video"])
        action, problem = _action(row)
        problem = row[TOO_MANY] or problem
        if video_id is None and _is_unsafe(row["video"]):
            problem = f"the id {row['video']!r} is empty or would leave its folder"
        elif video_id is None and not row[TOO_MANY]:
            if row["video"] not in reported:
                problems.append(Problem(where, f"{absent} {row['video']}{names.nearest(row['video'])}"))
            reported.add(row["video"])
        if problem or action is None:
            problems.append(Problem(where, problem))
        if problem or action is None or video_id is None:
            continue
        subset = meant.get(row.get("subset", "").lower(), row.get("subset", ""))
        if subset and subset not in subsets:
            unknown[subset] += 1
            first_with.setdefault(subset, where)
        elif subset and subset_of.setdefault(video_id, subset) != subset:
            problems.append(Problem(where, f"{video_id} is in {subset_of[video_id]!r} above and in {subset!r} here"))
        if video_id != row["video"] and written.setdefault(video_id, row["video"]) != row["video"]:
            problems.append(Problem(where, f"{video_id} is {written[video_id]} above and {row['video']} here"))
        result.places[video_id, len(actions.setdefault(video_id, []))] = where
        actions[video_id].append(action)
    for subset, where in first_with.items():
        more = f", also in {console.count(unknown[subset] - 1, 'more row')}" if unknown[subset] > 1 else ""
        nearest = console.nearest(subset, subsets)
        problems.append(Problem(where, f"unknown subset {subset!r}{more}{nearest}"))
    for video_id, listed in actions.items():
        result.videos[video_id] = AnnotatedVideo(video_id, subset_of.get(video_id, ""), tuple(listed))
    return result


def _without_repeats(path: Path, found: OwnActions) -> OwnActions:
    videos, places, repeats = {}, {}, []
    for video_id, video in found.videos.items():
        kept: list[Action] = []
        for number, action in enumerate(video.actions):
            if any(is_repeat(action, other) for other in kept):
                repeats.append(found.places[video_id, number])
            else:
                places[video_id, len(kept)] = found.places[video_id, number]
                kept.append(action)
        videos[video_id] = replace(video, actions=tuple(kept))
    if repeats:
        verb = "is" if len(repeats) == 1 else "are"
        listed = console.first_ten(where.removeprefix(f"{path}:") for where in repeats)
        console.warn(f"{console.count(len(repeats), 'action')} of {path} {verb} listed twice, and taken once: {listed}")
    return OwnActions(videos, places, found.problems)


def _label(text: str) -> str:
    """A label without blanks at its ends, and with accents as one letter: macOS writes them apart."""
    return unicodedata.normalize("NFC", text.strip())


def _is_unsafe(name: str) -> bool:
    """Whether a cell is no name, or leaves a folder; absolute paths may be those of another machine."""
    return is_unsafe_id(re.split(r"[/\\]", name)[-1]) or ".." in re.split(r"[/\\]", name)


def _action(row: dict[str, str]) -> tuple[Action | None, str]:
    start_s, end_s = _seconds(row["start"]), _seconds(row["end"])
    if start_s is None or end_s is None:
        bad = row["start"] if start_s is None else row["end"]
        return None, f"cannot read the time {bad!r}; expected seconds or H:MM:SS"
    if not row["label"]:
        return None, "the label is empty"
    return Action(start_s, end_s, _label(row["label"])), ""


def _seconds(text: str) -> float | None:
    """Seconds of `12.5`, `12,5`, `1e-05`, `1:02.5` or `0:01:02.5`."""
    if re.fullmatch(r"\d[.\d]{0,20}e[+-]?\d\d?", text.lower()) and text.count(".") < 2:  # as programs write numbers
        return float(text)
    match = re.fullmatch(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d*[.,]?\d+|\d+[.,])|-\d*[.,]?\d+", text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    if seconds is None:  # a negative number, which the check of all actions reports
        return float(text.replace(",", "."))
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
