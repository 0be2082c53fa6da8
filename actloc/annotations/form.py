"""Reads and writes actloc's annotation format: a superset of ActivityNet's JSON, with times in seconds.

{"version": ..., "classes": [...], "past_end": "refuse" | "keep", "database": {id: video}}, where a video is
{"subset", "duration", "fps", "frames", "file", "annotations": [{"segment": [start, end], "label", "label_id"}]}.
Optional: "variant": name; in a video "ambiguous": [[start, end]], "annotated": [[start, end]] (the rest of the video is
not annotated) and "rows": {"video", "first", "end"}.

Reading checks everything and reports all problems together, so that a user can fix them in one go.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from actloc import files
from actloc.annotations import annotated_time
from actloc.annotations.model import (
    Action,
    AnnotatedVideo,
    Annotations,
    FeatureRows,
    check,
    clip_past_end,
    raise_problems,
)
from actloc.annotations.other_forms import described
from actloc.annotations.times import number_of
from actloc.annotations.uncollected import uncollected
from actloc.errors import Problem, UserError

_LARGEST_NUMBER = 1e12  # a video cannot have this many seconds or frames per second
_MOST_CLASSES = 100_000  # a larger label_id cannot be a class number


def write(path: Path, annotations: Annotations) -> None:
    """Writes annotations as JSON, ids sorted."""
    files.write_bytes(path, _encoded(annotations))


def is_written(path: Path, annotations: Annotations) -> bool:
    """Whether the file is there and has what `write` would write."""
    if not path.exists():
        return False
    files.check_regular(path)
    with files.naming(path), path.open("rb") as stream:
        return all(stream.read(len(part)) == part for part in _encoded(annotations)) and not stream.read(1)


def to_text(annotations: Annotations) -> str:
    """The annotations as JSON text; equal annotations give equal text."""
    return "".join(_texts(annotations))


def _encoded(annotations: Annotations) -> Iterator[bytes]:
    return (text.encode("utf-8", "backslashreplace") for text in _texts(annotations))  # as `files.write_text` does


def _texts(annotations: Annotations) -> Iterator[str]:
    """The JSON text, each video by itself: all of it may take as much memory as the annotations."""
    in_order = sorted(annotations.videos.values(), key=lambda video: video.id)
    labels = {action.label for video in in_order for action in video.actions}
    number = {name: index for index, name in enumerate(annotations.classes)}
    label_fields = {label: f'"label": {_json(label)},\n     "label_id": {number.get(label, -1)}' for label in labels}
    form = {
        "version": "actloc-1",
        **({"variant": annotations.variant} if annotations.variant else {}),
        "classes": list(annotations.classes),
        "past_end": "keep" if annotations.keeps_past_end else "refuse",
    }
    yield _object({**{key: _json(value, 1) for key, value in form.items()}, "database": "{"}, 0).removesuffix("\n}")
    for place, video in enumerate(in_order):
        yield f"{',' if place else ''}\n  {_json(video.id)}: {_video_text(video, label_fields)}"
    yield "\n }\n}\n" if in_order else "}\n}\n"


def _video_text(video: AnnotatedVideo, label_fields: dict[str, str]) -> str:
    facts = {
        "subset": video.subset,
        "duration": video.duration_s,
        "fps": video.fps,
        "frames": video.frames,
        "file": None if video.file is None else str(video.file),
    }
    fields = {key: _json(value) for key, value in facts.items()}
    # by hand, which takes a fifth of the time of json.dumps with an indent: there may be a million
    actions = (
        f'\n    {{\n     "segment": [\n      {_number_text(one.start_s)},\n      {_number_text(one.end_s)}\n     ],\n'
        f"     {label_fields[one.label]}\n    }}"
        for one in video.actions
    )
    fields["annotations"] = f"[{','.join(actions)}\n   ]" if video.actions else "[]"
    if video.ambiguous:
        fields["ambiguous"] = _json(video.ambiguous, 3)
    if video.annotated:
        fields["annotated"] = _json(video.annotated, 3)
    if video.rows:
        rows = video.rows
        fields["rows"] = _json({"video": rows.video_id, "first": rows.first, "end": rows.end}, 3)
    return _object(fields, 2)


def _json(value: Any, depth: int = 0) -> str:  # Any: whatever JSON can hold
    """The value as JSON inside `depth` others."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).replace("\n", "\n" + depth * " ")


def _object(fields: dict[str, str], depth: int) -> str:
    """A JSON object inside `depth` others, as json.dumps writes it, of values that are JSON text."""
    blanks = depth * " "
    lines = (f"\n{blanks} {_json(key)}: {value}" for key, value in fields.items())
    return f"{{{','.join(lines)}\n{blanks}}}" if fields else "{}"


def _number_text(number: float) -> str:
    return float.__repr__(number) if isinstance(number, float) and math.isfinite(number) else _json(number)


@uncollected()
def read(path: Path) -> Annotations:
    """Reads and checks this format or any ActivityNet JSON; raises one UserError that lists every problem."""
    annotations, problems = _parsed(_form(path))
    for video in annotations.videos.values():
        problems += annotated_time.problems_of(video, f"database[{video.id!r}].annotated")
    raise_problems(path, problems + check(annotations), path.parent)
    return annotated_time.settled(clip_past_end(annotations))


def parsed_own(path: Path, content: Any) -> tuple[Annotations, list[Problem]]:  # Any: parsed JSON
    """A user's JSON, whose videos may have no subset; with its problems, but those of actions and ids."""
    return _parsed(_checked(path, content), needs_subsets=False)


def read_published(path: Path, listing_folder: Path) -> Annotations:
    """Reads a published dataset's JSON as downloaded; leaves actions outside their video to the dataset's own rule."""
    annotations, problems = _parsed(_form(path))
    raise_problems(path, problems, listing_folder)
    return replace(annotations, keeps_past_end=True)


def _form(path: Path) -> dict[str, Any]:
    return _checked(path, files.read_json(path, keep_odd_numbers=True))  # each is reported with its place


def _checked(path: Path, form: Any) -> dict[str, Any]:  # Any: parsed JSON
    if not isinstance(form, dict) or not isinstance(form.get("database"), dict):
        raise UserError(
            f"{path} is {described(form)}.",
            'Expected an object with "database", as ActivityNet\'s JSON has.',
            "Write its segments in this form; for videos of your own, a CSV video,start,end,label is enough.",
        )
    parsed: dict[str, Any] = form
    return parsed


def _parsed(form: dict[str, Any], *, needs_subsets: bool = True) -> tuple[Annotations, list[Problem]]:
    problems: list[Problem] = []
    videos = {}
    for video_id, entry in sorted(form["database"].items()):
        videos[video_id] = _video(video_id, entry, problems, needs_subset=needs_subsets)
    classes = _classes(form, videos, problems)
    variant = form.get("variant", "")
    if not isinstance(variant, str):
        problems.append(Problem("variant", f"found {variant!r}, expected a name"))
    keeps_past_end = form.get("past_end") == "keep"
    return Annotations(classes, videos, keeps_past_end=keeps_past_end, variant=str(variant)), problems


def _video(  # Any: not yet checked
    video_id: str, entry: Any, problems: list[Problem], *, needs_subset: bool
) -> AnnotatedVideo:
    where = f"database[{video_id!r}]"
    if not isinstance(entry, dict):
        problems.append(Problem(where, "expected an object"))
        return AnnotatedVideo(video_id, "")
    subset = entry.get("subset")
    if not needs_subset and subset is None:
        subset = ""
    elif not isinstance(subset, str) or not subset:
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
        ambiguous=_intervals(where, "ambiguous", entry.get("ambiguous") or [], problems),
        annotated=_annotated(where, entry.get("annotated"), problems),
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


def _annotated(where: str, listed: Any, problems: list[Problem]) -> tuple[annotated_time.Span, ...]:  # Any: unchecked
    if listed == []:
        what = "annotated: found no interval, expected at least one; leave out the key if all of the video is annotated"
        problems.append(Problem(where, what))
    return _intervals(where, "annotated", [] if listed is None else listed, problems)


def _intervals(  # Any: not yet checked
    where: str, key: str, listed: Any, problems: list[Problem]
) -> tuple[annotated_time.Span, ...]:
    if not isinstance(listed, list) or not all(_is_segment(interval) for interval in listed):
        problems.append(Problem(where, f"{key}: found {listed!r}, expected a list of [start, end] in seconds"))
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
    number: Any = number_of(value) if isinstance(value, str) else value  # HACS has durations as text
    if not _is_number(number) or number <= 0:
        problems.append(Problem(where, f"{key}: found {value!r}, expected a positive number"))
        return None
    return float(number)


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
        Problem("classes", f"{name!r} is listed twice") for name in sorted({n for n in listed if listed.count(n) > 1})
    )
    return tuple(listed)


def _classes_by_number(form: dict[str, Any]) -> tuple[str, ...]:
    """The names in the order of ActionFormer's `label_id`; a number without an action keeps its place as id_007."""
    number_of: dict[str, int] = {}
    for entry in form["database"].values():
        listed = entry.get("annotations") if isinstance(entry, dict) else None
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, dict) and isinstance(item.get("label"), str) and isinstance(item.get("label_id"), int):
                number_of[item["label"]] = item["label_id"]
    name_of = {number: name for name, number in number_of.items()}
    if len(name_of) != len(number_of) or not all(0 <= number < _MOST_CLASSES for number in name_of):
        return ()
    return tuple(name_of.get(number, f"id_{number:03d}") for number in range(max(name_of, default=-1) + 1))
