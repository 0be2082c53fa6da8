"""Videos, their actions, and the rules that annotations of any form must keep."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from actloc import console, files
from actloc.errors import Problem, UserError

SAME_S = 1e-3
"""Times closer than this are one, and an action shorter than this is none (ActionFormer's rule)."""

CLIPPED_PAST_END_S = 0.5
"""Ends this far beyond the video are clipped with a warning; further is a mistake (R15)."""


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
    raise UserError(
        f"{source} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n  {console.first_lines(problems)}",
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
