"""The annotated time of videos: the intervals of which every action is listed; what happens elsewhere is not known."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.annotations.model import CLIPPED_PAST_END_S, SAME_S, AnnotatedVideo, Annotations
from actloc.annotations.tables import COLUMNS, read_table
from actloc.annotations.times import seconds_of
from actloc.annotations.video_names import VideoNames
from actloc.errors import Problem

Span = tuple[float, float]
"""Start and end in seconds."""
_SETTING_COLUMNS = {name: COLUMNS[name] for name in ("video", "start", "end")}


def parsed(cell: str) -> tuple[Span, ...] | None:
    """The intervals of a cell such as `0-60;2:00-3:00`, in seconds or H:MM:SS; None for other text."""
    if not cell:  # as in most rows of most tables
        return ()
    found = []
    for part in filter(None, (one.strip() for one in re.split(r"[;|]", cell))):
        ends = [seconds_of(one.strip()) for one in re.split(r"[-\u2013]", part)]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            return None
        found.append((ends[0], ends[1]))
    return tuple(found)


def written(intervals: Iterable[Span]) -> str:
    """The intervals as `parsed` reads them."""
    return ";".join(f"{start:.6f}-{end:.6f}" for start, end in intervals)


def read_file(path: Path, setting: str, names: VideoNames, absent: str) -> tuple[dict[str, list[Span]], list[Problem]]:
    """The intervals of a table `video,start,end` by the ids of the videos; raises UserError if it is none."""
    found: dict[str, list[Span]] = {}
    problems = []
    for line, cells in read_table(path, _SETTING_COLUMNS, (), setting):
        where, name = f"{path}:{line}", cells["video"]
        start_s, end_s, video_id = seconds_of(cells["start"]), seconds_of(cells["end"]), names.find(name)
        if video_id is None:
            problems.append(Problem(where, f"{absent} {name}{names.nearest(name)}"))
        elif start_s is None or end_s is None:
            bad = cells["start"] if start_s is None else cells["end"]
            problems.append(Problem(where, f"cannot read the time {bad!r}; expected seconds or H:MM:SS"))
        else:
            found.setdefault(video_id, []).append((start_s, end_s))
    return found, problems


def problems_of(video: AnnotatedVideo, where: str) -> list[Problem]:
    """What is wrong with the intervals of a video, and each of its actions that is in none of them."""
    problems = [
        Problem(where, f"the annotated time {start:g}-{end:g} s of {video.id} {what}")
        for start, end in video.annotated
        for what in [_wrong_with(start, end, video.duration_s)]
        if what
    ]
    if problems or not video.annotated:
        return problems
    return [
        Problem(
            where,
            f"{action.label} {action.start_s:g}-{action.end_s:g} s of {video.id} is outside its annotated time, "
            f"{listed(video.annotated)}",
        )
        for action in video.actions
        if not any(action.start_s < end and action.end_s > start for start, end in video.annotated)
    ]


def _wrong_with(start_s: float, end_s: float, duration_s: float | None) -> str:
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return "is not finite"
    if start_s < 0:
        return "starts before the video"
    if end_s <= start_s:
        return "ends before or at its start"
    if duration_s is not None and (end_s > duration_s + CLIPPED_PAST_END_S or start_s >= duration_s):
        return f"ends after the video, which is {duration_s:.2f} s long"
    return ""


def listed(intervals: Sequence[Span]) -> str:
    """Intervals for a message."""
    return console.first_ten(f"{start:g}-{end:g} s" for start, end in intervals)


def settled(annotations: Annotations) -> Annotations:
    """Intervals in order, merged, within their videos, and as long as the actions that cross their borders.

    All of an action is known, so its whole time counts as annotated; a note says how many borders have moved.
    """
    videos, crossing = dict(annotations.videos), []
    for video in annotations.videos.values():
        if not video.annotated:
            continue
        spans = [(action.start_s, action.end_s) for action in video.actions]
        within = merged((start, min(end, video.duration_s or end)) for start, end in video.annotated)
        if any(not any(s - SAME_S <= start and end <= e + SAME_S for s, e in within) for start, end in spans):
            crossing.append(video.id)
        videos[video.id] = replace(video, annotated=merged([*within, *spans]))
    if crossing:
        console.say(
            f"Actions cross the border of the annotated time of {console.count(len(crossing), 'video')}, which is "
            f"extended to their ends: {console.first_ten(crossing)}"
        )
    return replace(annotations, videos=videos)


def merged(intervals: Iterable[Span]) -> tuple[Span, ...]:
    """Intervals in order; those that overlap or touch are one."""
    found: list[Span] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return tuple(found)


def gaps(annotated: Sequence[Span]) -> list[Span]:
    """The time that is not annotated, from minus infinity to infinity; nothing if all of the video is annotated."""
    if not annotated:
        return []
    borders = [-math.inf, *(time for interval in annotated for time in interval), math.inf]
    return list(zip(borders[::2], borders[1::2], strict=True))


def summary(annotations: Annotations) -> str:
    """How many videos are partly annotated, and how much of them; an empty text if there are none."""
    partly = [video for video in annotations.videos.values() if video.annotated]
    if not partly:
        return ""
    known_s = sum(end - start for video in partly for start, end in video.annotated)
    durations_s = [video.duration_s for video in partly if video.duration_s is not None]
    of = f" of their {console.duration(sum(durations_s))}" if len(durations_s) == len(partly) else ""
    share = f"{len(partly)} of {console.count(len(annotations.videos), 'video')}"
    return f"Partly annotated: {share}, {console.duration(known_s)}{of}; the rest is neither learned nor scored"


def is_mostly_outside(annotated: Sequence[Span], start_s: float, end_s: float) -> bool:
    """Whether the larger part of a segment is outside the annotated time; of one without length, its moment."""
    if not annotated:
        return False
    if end_s <= start_s:
        return not any(start <= start_s <= end for start, end in annotated)
    inside = sum(max(0.0, min(end_s, end) - max(start_s, start)) for start, end in annotated)
    return inside < 0.5 * (end_s - start_s)
