"""Shared by the readers of published datasets: reads tables and class lists, and reports defects of annotations."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import model
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError

_EXAMPLES = 3
_LISTING = "annotation_defects.txt"


@dataclass(frozen=True)
class Defect:
    """Something wrong with a published annotation: what it is and what is done about it, and where it is."""

    kind: str
    where: str


@dataclass(frozen=True)
class Rule:
    """What is done about each kind of defect, in words for the user; only the last two change anything."""

    past_end: str = "kept, as in the official ground truth"
    no_length: str = "kept; the actionformer protocol ignores actions shorter than 1 ms"
    duplicate: str = "kept, as published"
    before_start: str = "start set to 0"
    reversed_: str = "left out"


def settle(annotations: Annotations, rule: Rule, folder: Path, more: list[Defect] | None = None) -> Annotations:
    """Applies the dataset's rule to the annotations; reports the defects and lists all of them in `folder`."""
    defects = list(more or [])
    videos = {}
    for video in sorted(annotations.videos.values(), key=lambda video: video.id):
        defects += _defects(video, rule)
        actions = (replace(action, start_s=max(action.start_s, 0.0)) for action in video.actions)
        videos[video.id] = replace(video, actions=tuple(a for a in actions if a.end_s >= a.start_s))
    settled = replace(annotations, videos=videos, keeps_past_end=True)
    model.raise_problems(folder, model.check(settled), folder)
    _report(defects, folder / _LISTING)
    return settled


def _defects(video: AnnotatedVideo, rule: Rule) -> list[Defect]:
    found = []
    for number, action in enumerate(video.actions):
        where = f"{video.id}: {action.label} {action.start_s:g}-{action.end_s:g} s"
        if video.duration_s is not None and action.end_s > video.duration_s:
            found.append(Defect(f"ends after its video ({rule.past_end})", f"{where} of {video.duration_s:g} s"))
        if action.end_s < action.start_s:
            found.append(Defect(f"ends before its start ({rule.reversed_})", where))
        elif action.end_s - action.start_s < model.SAME_S:
            found.append(Defect(f"has no length ({rule.no_length})", where))
        if action.start_s < 0:
            found.append(Defect(f"starts before its video ({rule.before_start})", where))
        if any(model.is_repeat(action, other) for other in video.actions[:number]):
            found.append(Defect(f"repeats an earlier one ({rule.duplicate})", where))
    return found


def _report(defects: list[Defect], listing: Path) -> None:
    """Prints one line per kind and writes one line per defect to `listing`; without defects removes that file."""
    if not defects:
        files.remove(listing)
        return
    kinds: dict[str, list[str]] = {}
    for defect in defects:
        kinds.setdefault(defect.kind, []).append(defect.where)
    for kind, places in kinds.items():
        more = ", ..." if len(places) > _EXAMPLES else ""
        console.say(f"{len(places)} x {kind}: {', '.join(places[:_EXAMPLES])}{more}")
    text = "".join(f"{defect.where}: {defect.kind}\n" for defect in defects)
    if not listing.exists() or files.read_bytes(listing) != text.encode():
        files.write_text(listing, text)
    console.say(f"{console.count(len(defects), 'defect')} in total, listed in {listing}")


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Reads the rows of a CSV; raises UserError unless its header has `columns` and every row is as long as it."""
    try:
        text = files.read_text(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: {error}.", "Expected a CSV.", "Download it again.") from error
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    rows = [] if missing else list(reader)
    short = next((number for number, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    if missing or short:
        what = f"has no column {', '.join(missing)}" if missing else f"has a different number of cells in row {short}"
        raise UserError(
            f"{path} {what}.", f"Expected at least the columns {', '.join(columns)}.", "Download the official file."
        )
    return rows


def number(text: str, where: object) -> float:
    """The number in a cell; raises UserError that says `where` the cell is."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: found {text[:40]!r}.", "Expected a number.", "Download the official file.")
    return value


def clock_seconds(text: str, where: object, decimals: int) -> float:
    """Seconds of `HH:MM:SS.sss`, as EPIC's tables have them; raises UserError that says `where` the cell is."""
    cells = text.split(":")
    if len(cells) != 3:
        raise UserError(
            f"{where}: {text!r} is not a time.", "Expected HH:MM:SS.sss.", "Download the official file again."
        )
    hours, minutes, seconds = (number(cell, where) for cell in cells)
    return round(hours * 3600 + minutes * 60 + seconds, decimals)


def warn_of_classes(annotations: Annotations, official: int, file: Path) -> None:
    """Warns if a dataset's file does not have the official number of classes: scores on it are of another task."""
    found = len(annotations.classes)
    if found != official:
        few = "; is it a part of the official file?" if found < official else ""
        console.warn(f"{file} has {console.count(found, 'class', 'classes')}, the official file {official}{few}")


def read_segment_lines(path: Path, label: str) -> list[tuple[str, Action]]:
    """Reads the video and the action of each line `video start end` of a THUMOS text file, which has one class."""
    found = []
    for line_number, line in enumerate(files.read_lines(path), 1):
        cells, where = line.split(), f"{path}:{line_number}"
        if cells and len(cells) != 3:
            raise UserError(f"{where}: found {line!r}.", "Expected `video start end`.", "Download the official file.")
        if cells:
            found.append((cells[0], Action(number(cells[1], where), number(cells[2], where), label)))
    return found


def read_class_names(path: Path) -> dict[int, str]:
    """Reads numbered names from lines like `7 BaseballPitch`, `c092 Smiling`, `000<tab>name`, or a CSV `id,key,...`."""
    if path.suffix == ".csv":
        return {int(number(row["id"], path)): row["key"] for row in read_rows(path, ("id", "key"))}
    names = {}
    for line in files.read_lines(path):
        first, _, name = line.strip().replace("\t", " ").partition(" ")
        if first:
            names[int(number(first.lstrip("c"), path))] = name.strip()
    return names


def read_videos_facts(folder: Path) -> dict[str, AnnotatedVideo]:
    """Reads duration, rate and frames by id from TSP's `*_metadata.csv`; an id is a file name without its suffix."""
    facts = {}
    paths = sorted(folder.glob("*_metadata.csv"))
    for path in paths:
        for row in read_rows(path, ("filename", "video-duration", "fps", "video-frames")):
            video_id = Path(row["filename"]).stem
            facts[video_id] = AnnotatedVideo(
                video_id,
                "",
                duration_s=number(row["video-duration"], path),
                fps=number(row["fps"], path),
                frames=int(number(row["video-frames"], path)),
            )
    if not paths:
        raise UserError(
            f"{folder} contains no *_metadata.csv.", "Expected TSP's files.", "Set dataset.metadata to their folder."
        )
    return facts


def read_numbered_actions(
    path: Path, num_classes: int, first: int, names: Path | None, default_name: Callable[[int], str]
) -> Annotations:
    """Reads the format of super-events: `{id: {subset, duration, actions: [[class number, start, end], ...]}}`."""
    given = read_class_names(names) if names else {}
    classes = [given.get(number, default_name(number)) for number in range(first, first + num_classes)]
    videos = {}
    form = files.read_json(path)
    try:
        for video_id, entry in sorted(form.items()):
            actions = tuple(
                Action(float(s), float(e), classes[_not_negative(c - first)]) for c, s, e in entry["actions"]
            )
            videos[video_id] = AnnotatedVideo(video_id, entry["subset"], actions, float(entry["duration"]))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is not in the format of super-events: {error!r}.",
            f"Expected subset, duration and actions of the classes {first} to {first + num_classes - 1} per video.",
            "Set dataset.annotations to multithumos.json or charades.json as downloaded.",
        ) from error
    return Annotations(tuple(classes), videos, keeps_past_end=True)


def _not_negative(index: int) -> int:
    if index < 0:
        raise IndexError(index)
    return index


def without(videos: dict[str, AnnotatedVideo], dropped: set[str]) -> dict[str, AnnotatedVideo]:
    """The videos that are not in `dropped`."""
    return {video_id: video for video_id, video in videos.items() if video_id not in dropped}
