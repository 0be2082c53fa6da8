"""The one annotation form: a superset of ActivityNet's JSON with seconds as truth.

{"version": ..., "classes": [...], "past_end": "refuse" | "keep", "database": {id: video}} with a video being
{"subset", "duration", "fps", "frames", "file", "annotations": [{"segment": [start, end], "label", "label_id"}]}.
Where there are any: "variant": name; of a video "ambiguous": [[start, end]] and "rows": {"video", "first", "end"}.

Reading checks everything and reports every problem at once (spec: reliability, R15).
"""

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError

SAME_S = 1e-3
"""Times closer than this are one, and an action shorter than this is none (ActionFormer's rule)."""
CLIPPED_PAST_END_S = 0.5
"""Ends this far beyond the video are clipped with a warning; further is a mistake (R15)."""
_LARGEST_NUMBER = 1e12  # seconds or frames per second beyond this are no numbers of a video
_SHOWN = 20  # problems in one message
_MOST_CLASSES = 100_000  # a label_id beyond this is no class number


@dataclass(frozen=True)
class Action:
    """One annotated action: seconds from the video's first frame."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class FeatureRows:
    """Where a clip's features lie in a file that holds those of its whole video: rows from `first` to before `end`."""

    video_id: str
    first: int
    end: int


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video, where it lies, and its actions; a video without actions is background."""

    id: str
    subset: str
    actions: tuple[Action, ...] = ()
    duration_s: float | None = None
    fps: float | None = None
    frames: int | None = None
    file: Path | None = None
    ambiguous: tuple[tuple[float, float], ...] = ()
    """Seconds in which nobody could tell what happens: no class, but some protocols forgive predictions there."""
    rows: FeatureRows | None = None
    """Of a clip: which part of its whole video's features is its own."""


@dataclass(frozen=True)
class Annotations:
    """All videos of a dataset by id, ids sorted, and the class names in the order of their numbers."""

    classes: tuple[str, ...]
    videos: dict[str, AnnotatedVideo]
    keeps_past_end: bool = False
    variant: str = ""
    """Which of the dataset's published variants this is, test set 212 for one; empty where there is only one."""

    def of_subset(self, subset: str) -> list[AnnotatedVideo]:
        """The subset's videos in id order; subset names match without regard to case, as ActionFormer's do."""
        return [video for video in self.videos.values() if video.subset.lower() == subset.lower()]

    @property
    def empty_classes(self) -> list[int]:
        """The numbers of the classes that no action of any subset has."""
        seen = {action.label for video in self.videos.values() for action in video.actions}
        return [number for number, name in enumerate(self.classes) if name not in seen]


@dataclass(frozen=True)
class Problem:
    """What is wrong and where: a line of a CSV, a place in a JSON."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def raise_problems(source: Path, problems: list[Problem], listing_folder: Path) -> None:
    """Raises one UserError for all `problems`: 20 in the message, all in a file; does nothing without any."""
    if not problems:
        return
    problems = sorted(problems, key=_in_reading_order)
    listing = listing_folder / "annotation_problems.txt"
    try:
        files.write_text(listing, "".join(f"{problem}\n" for problem in problems))
        where = f" (all are listed in {listing})"
    except OSError:
        where = ""  # a folder nobody may write into must not hide what is wrong
    shown = "\n  ".join(str(problem) for problem in problems[:_SHOWN])
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise UserError(
        f"{source} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n  {shown}{more}",
        "Expected 0 <= start < end <= duration in seconds, known labels and subsets, and each video once.",
        f"Mend them{where} and run the command again.",
    )


def _in_reading_order(problem: Problem) -> list[tuple[int, str]]:
    """Line 9 before line 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", problem.where)]


def check(annotations: Annotations, places: dict[tuple[str, int], str] | None = None) -> list[Problem]:
    """Every action that is not inside its video, and every id that could be a path.

    `places` names where action i of a video stands; without it the place in the JSON form is told.
    """
    problems = []
    for video in annotations.videos.values():
        if files.is_unsafe_id(video.id):
            problems.append(
                Problem(f"database[{video.id!r}]", f"the id {video.id!r} is empty or would leave its folder")
            )
        if video.rows is not None and files.is_unsafe_id(video.rows.video_id):
            problems.append(
                Problem(f"database[{video.id!r}].rows", f"{video.rows.video_id!r} is empty or would leave its folder")
            )
        for number, action in enumerate(video.actions):
            where = (places or {}).get((video.id, number)) or f"database[{video.id!r}].annotations[{number}]"
            what = _wrong_with(action, video, annotations)
            if what:
                problems.append(Problem(where, what))
    return problems


def _wrong_with(action: Action, video: AnnotatedVideo, annotations: Annotations) -> str | None:
    span = f"{action.start_s:g}-{action.end_s:g} s"
    if not (math.isfinite(action.start_s) and math.isfinite(action.end_s)):
        return f"{span} of {video.id} is not finite"
    if action.start_s < 0:
        return f"{span} of {video.id} starts before the video"
    if action.end_s <= action.start_s and not annotations.keeps_past_end:
        return f"{span} of {video.id} ends before or at its start"
    if action.label not in annotations.classes:
        return f"unknown label {action.label!r}{console.nearest(action.label, annotations.classes)}"
    if video.duration_s is not None and not annotations.keeps_past_end:
        beyond = action.end_s - video.duration_s
        if beyond > CLIPPED_PAST_END_S or action.start_s >= video.duration_s:
            return f"{span} of {video.id} ends {beyond:.2f} s after the video, which has {video.duration_s:.2f} s"
    return None


def clip_past_end(annotations: Annotations) -> Annotations:
    """Ends at most 0.5 s beyond their video set to its end, each with a warning."""
    if annotations.keeps_past_end:
        return annotations
    videos = {}
    for video in annotations.videos.values():
        actions = tuple(_clipped(action, video) for action in video.actions)
        videos[video.id] = replace(video, actions=actions)
    return replace(annotations, videos=videos)


def _clipped(action: Action, video: AnnotatedVideo) -> Action:
    if video.duration_s is None or action.end_s <= video.duration_s:
        return action
    console.warn(
        f"{video.id}: {action.label} {action.start_s:g}-{action.end_s:g} s clipped to the video's end, "
        f"{video.duration_s:g} s",
        id=video.id,
    )
    return replace(action, end_s=video.duration_s)


def without_duplicates(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Actions of at least 1 ms, without those that repeat an earlier kept one of their class within 1 ms at both ends.

    ActionFormer's rule for ground truth (`spec/actionformer.md` section 11.1).
    """
    kept: list[Action] = []
    for action in actions:
        if action.end_s - action.start_s >= SAME_S and not any(is_repeat(action, other) for other in kept):
            kept.append(action)
    return tuple(kept)


def is_repeat(action: Action, other: Action) -> bool:
    """Whether both are one action annotated twice."""
    return (
        action.label == other.label
        and abs(action.start_s - other.start_s) <= SAME_S
        and abs(action.end_s - other.end_s) <= SAME_S
    )


def write(path: Path, annotations: Annotations) -> None:
    """Writes the one form, ids sorted."""
    files.write_text(path, to_text(annotations))


def to_text(annotations: Annotations) -> str:
    """The one form as JSON text: the same annotations give the same bytes."""
    number = {name: index for index, name in enumerate(annotations.classes)}
    database: dict[str, dict[str, Any]] = {}
    for video in sorted(annotations.videos.values(), key=lambda video: video.id):
        database[video.id] = {
            "subset": video.subset,
            "duration": video.duration_s,
            "fps": video.fps,
            "frames": video.frames,
            "file": None if video.file is None else str(video.file),
            "annotations": [
                {"segment": [a.start_s, a.end_s], "label": a.label, "label_id": number.get(a.label, -1)}
                for a in video.actions
            ],
        }
        if video.ambiguous:
            database[video.id]["ambiguous"] = [list(interval) for interval in video.ambiguous]
        if video.rows:
            rows = video.rows
            database[video.id]["rows"] = {"video": rows.video_id, "first": rows.first, "end": rows.end}
    form = {
        "version": "actloc-1",
        **({"variant": annotations.variant} if annotations.variant else {}),
        "classes": list(annotations.classes),
        "past_end": "keep" if annotations.keeps_past_end else "refuse",
        "database": database,
    }
    return json.dumps(form, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Annotations:
    """Reads and checks the one form, or any ActivityNet JSON; raises one UserError that lists every problem."""
    form = _form(path, path.parent)
    annotations, problems = _parsed(form)
    raise_problems(path, problems + check(annotations), path.parent)
    return clip_past_end(annotations)


def read_published(path: Path, listing_folder: Path) -> Annotations:
    """A published dataset's JSON as downloaded; what lies outside its video is left to that dataset's own rule."""
    annotations, problems = _parsed(_form(path, listing_folder))
    raise_problems(path, problems, listing_folder)
    return replace(annotations, keeps_past_end=True)


def _form(path: Path, listing_folder: Path) -> dict[str, Any]:
    form = files.read_json(path)
    if not isinstance(form, dict) or not isinstance(form.get("database"), dict):
        raise_problems(path, [Problem("top level", 'expected an object with "database"')], listing_folder)
    parsed: dict[str, Any] = form
    return parsed


def _parsed(form: dict[str, Any]) -> tuple[Annotations, list[Problem]]:
    problems: list[Problem] = []
    videos = {video_id: _video(video_id, entry, problems) for video_id, entry in sorted(form["database"].items())}
    classes = _classes(form, videos, problems)
    variant = form.get("variant", "")
    if not isinstance(variant, str):
        problems.append(Problem("variant", f"found {variant!r}, expected a name"))
    keeps_past_end = form.get("past_end") == "keep"
    return Annotations(classes, videos, keeps_past_end=keeps_past_end, variant=str(variant)), problems


def _video(video_id: str, entry: Any, problems: list[Problem]) -> AnnotatedVideo:  # Any: not yet checked
    where = f"database[{video_id!r}]"
    if not isinstance(entry, dict):
        problems.append(Problem(where, "expected an object"))
        return AnnotatedVideo(video_id, "")
    subset = entry.get("subset")
    if not isinstance(subset, str) or not subset:
        problems.append(Problem(where, f"subset: found {subset!r}, expected a name"))
    listed = entry.get("annotations") or []
    if not isinstance(listed, list):
        problems.append(Problem(where, "annotations: expected a list"))
        listed = []
    actions = [_action(f"{where}.annotations[{number}]", item, problems) for number, item in enumerate(listed)]
    file = entry.get("file")
    return AnnotatedVideo(
        id=video_id,
        subset=str(subset),
        actions=tuple(action for action in actions if action is not None),
        duration_s=_number(where, "duration", entry.get("duration"), problems),
        fps=_number(where, "fps", entry.get("fps"), problems),
        frames=entry.get("frames") if isinstance(entry.get("frames"), int) else None,
        file=Path(file) if isinstance(file, str) else None,
        ambiguous=_ambiguous(where, entry.get("ambiguous") or [], problems),
        rows=_rows(where, entry.get("rows"), problems),
    )


def _rows(where: str, entry: Any, problems: list[Problem]) -> FeatureRows | None:  # Any: not yet checked
    if entry is None:
        return None
    known = entry if isinstance(entry, dict) else {}
    video_id, first, end = known.get("video"), known.get("first"), known.get("end")
    if isinstance(video_id, str) and type(first) is int and type(end) is int and 0 <= first < end:
        return FeatureRows(video_id, first, end)
    problems.append(Problem(where, f"rows: found {entry!r}, expected a video and rows, 0 <= first < end"))
    return None


def _ambiguous(where: str, listed: Any, problems: list[Problem]) -> tuple[tuple[float, float], ...]:  # Any: unchecked
    if not isinstance(listed, list) or not all(_is_segment(interval) for interval in listed):
        problems.append(Problem(where, f"ambiguous: found {listed!r}, expected a list of [start, end] in seconds"))
        return ()
    return tuple((float(start), float(end)) for start, end in listed)


def _is_segment(value: Any) -> bool:  # Any: not yet checked
    return isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value)


def _action(where: str, item: Any, problems: list[Problem]) -> Action | None:  # Any: not yet checked
    segment = item.get("segment") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not _is_segment(segment):
        problems.append(Problem(where, f"segment: found {segment!r}, expected [start, end] in seconds"))
        return None
    if not isinstance(item.get("label"), str) or not item["label"]:
        problems.append(Problem(where, f"label: found {item.get('label')!r}, expected a name"))
        return None
    start_s, end_s = item["segment"]
    return Action(float(start_s), float(end_s), item["label"])


def _number(where: str, key: str, value: Any, problems: list[Problem]) -> float | None:  # Any: not yet checked
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        problems.append(Problem(where, f"{key}: found {value!r}, expected a positive number"))
        return None
    return float(value)


def _is_number(value: Any) -> bool:  # Any: not yet checked
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST_NUMBER


def _classes(form: dict[str, Any], videos: dict[str, AnnotatedVideo], problems: list[Problem]) -> tuple[str, ...]:
    listed = form.get("classes")
    if listed is None:
        return _classes_by_number(form) or tuple(sorted({a.label for video in videos.values() for a in video.actions}))
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        problems.append(Problem("classes", "expected a list of names"))
        return ()
    problems.extend(
        Problem("classes", f"{name!r} stands twice") for name in sorted({n for n in listed if listed.count(n) > 1})
    )
    return tuple(listed)


def _classes_by_number(form: dict[str, Any]) -> tuple[str, ...]:
    """The names in the order of ActionFormer's `label_id`; a number that no action has keeps its place as id_007."""
    number_of: dict[str, int] = {}
    for entry in form["database"].values():
        for item in (entry.get("annotations") or []) if isinstance(entry, dict) else []:
            if isinstance(item, dict) and isinstance(item.get("label"), str) and isinstance(item.get("label_id"), int):
                number_of[item["label"]] = item["label_id"]
    name_of = {number: name for name, number in number_of.items()}
    if len(name_of) != len(number_of) or not all(0 <= number < _MOST_CLASSES for number in name_of):
        return ()
    return tuple(name_of.get(number, f"id_{number:03d}") for number in range(max(name_of, default=-1) + 1))
