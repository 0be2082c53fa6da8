"""Videos and their actions, and the rules for annotations of any format."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actloc import console, files
from actloc.errors import Problem, UserError

SAME_S = 1e-3
"""Times closer than this are the same, and an action shorter than this is ignored (ActionFormer's rule)."""

CLIPPED_PAST_END_S = 0.5
"""An action that ends up to this long after its video is clipped with a warning; a longer one is an error."""


@dataclass(frozen=True, slots=True)
class Action:
    """One annotated action, in seconds from the video's first frame."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class FeatureRows:
    """The rows of a clip's features in the file of its whole video: from `first` up to, not including, `end`."""

    video_id: str
    first: int
    end: int


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video, its file and its actions; a video without actions is background."""

    id: str
    subset: str
    actions: tuple[Action, ...] = ()
    duration_s: float | None = None
    fps: float | None = None
    frames: int | None = None
    file: Path | None = None
    ambiguous: tuple[tuple[float, float], ...] = ()
    """Intervals (seconds) whose action is unclear: they have no class, and some protocols forgive predictions there."""
    annotated: tuple[tuple[float, float], ...] = ()
    """Intervals (seconds), in order, of which every action is listed; what happens elsewhere is not known. Empty: all
    of the video is annotated."""
    rows: FeatureRows | None = None
    """Of a clip: which rows of its whole video's features belong to it."""


@dataclass(frozen=True)
class Annotations:
    """All videos of a dataset by id, ids sorted, and the class names in the order of their numbers."""

    classes: tuple[str, ...]
    videos: dict[str, AnnotatedVideo]
    keeps_past_end: bool = False
    variant: str = ""
    """The published variant of the dataset, such as test set 212; empty if there is only one."""

    def of_subset(self, subset: str) -> list[AnnotatedVideo]:
        """The subset's videos in id order; subset names match in any case (upper or lower), as in ActionFormer."""
        return [video for video in self.videos.values() if video.subset.lower() == subset.lower()]

    @property
    def empty_classes(self) -> list[int]:
        """The numbers of the classes without an action in any subset."""
        seen = {action.label for video in self.videos.values() for action in video.actions}
        return [number for number, name in enumerate(self.classes) if name not in seen]


def raise_problems(source: Path, problems: list[Problem], listing_folder: Path) -> None:
    """Raises one UserError for all `problems`, if there are any: 20 in the message, all in a file."""
    if not problems:
        return
    # first what is wrong with the file as a whole, which may explain all others
    problems = sorted(problems, key=lambda one: (one.where != str(source), in_reading_order(one)))
    listing = problems_file(listing_folder)
    try:
        files.write_text(listing, "".join(f"{problem}\n" for problem in problems))
        where = f" (all are listed in {listing})"
    except OSError:
        where = ""  # a read-only folder must not hide the problems
    raise UserError(
        f"{source} has {console.count(len(problems), 'problem')}:\n  {console.first_lines(problems)}",
        "Expected names of videos that are there, 0 <= start < end <= duration in seconds, known labels and subsets, "
        "and each video once.",
        f"Fix them{where} and run the command again.",
    )


def problems_file(folder: Path) -> Path:
    """The file that lists every problem of the annotations that a dataset's folder is made from."""
    return folder / "annotation_problems.txt"


def in_reading_order(problem: Problem) -> list[tuple[int, str]]:
    """Sorts line 9 before line 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", problem.where)]


def check(annotations: Annotations, places: Mapping[str, Sequence[str]] | None = None) -> list[Problem]:
    """Finds every action that is not inside its video, and every id that could be a path.

    `places` says where each action of a video is written, such as the line of a CSV; the default is its place in the
    JSON.
    """
    problems, classes = [], frozenset(annotations.classes)
    for video in annotations.videos.values():
        if files.is_unsafe_id(video.id):
            problems.append(
                Problem(f"database[{video.id!r}]", f"the id {video.id!r} is empty or would leave its folder")
            )
        if video.rows is not None and files.is_unsafe_id(video.rows.video_id):
            problems.append(
                Problem(f"database[{video.id!r}].rows", f"{video.rows.video_id!r} is empty or would leave its folder")
            )
        written = (places or {}).get(video.id)
        for number, action in enumerate(video.actions):
            what = _wrong_with(action, video, annotations, classes)
            if what:
                where = written[number] if written else f"database[{video.id!r}].annotations[{number}]"
                problems.append(Problem(where, what))
    return problems


def _wrong_with(action: Action, video: AnnotatedVideo, annotations: Annotations, classes: frozenset[str]) -> str | None:
    if not (math.isfinite(action.start_s) and math.isfinite(action.end_s)):
        return f"{_span(action, video)} is not finite"
    if action.start_s < 0:
        return f"{_span(action, video)} starts before the video"
    if action.end_s <= action.start_s and not annotations.keeps_past_end:
        return f"{_span(action, video)} ends before or at its start"
    if action.label not in classes:
        return f"unknown label {action.label!r}{console.nearest(action.label, annotations.classes)}"
    if video.duration_s is not None and not annotations.keeps_past_end:
        beyond = action.end_s - video.duration_s
        if beyond > CLIPPED_PAST_END_S or action.start_s >= video.duration_s:
            after = f"ends {beyond:.2f} s after the video, which is {video.duration_s:.2f} s long"
            return f"{_span(action, video)} {after}"
    return None


def _span(action: Action, video: AnnotatedVideo) -> str:
    return f"{action.start_s:g}-{action.end_s:g} s of {video.id}"


def clip_past_end(annotations: Annotations) -> Annotations:
    """Clips actions that end at most 0.5 s after their video to its end, each with a warning."""
    if annotations.keeps_past_end:
        return annotations
    videos = {}
    for video in annotations.videos.values():
        videos[video.id] = video
        if video.duration_s is not None and any(action.end_s > video.duration_s for action in video.actions):
            actions = tuple(_clipped(action, video) for action in video.actions)
            videos[video.id] = replace(video, actions=actions)
    return replace(annotations, videos=videos)


def _clipped(action: Action, video: AnnotatedVideo) -> Action:
    if video.duration_s is None or action.end_s <= video.duration_s:
        return action
    console.warn(
        f"{video.id}: {action.label} {action.start_s:g}-{action.end_s:g} s clipped to the end of the video at "
        f"{video.duration_s:g} s",
        id=video.id,
    )
    return replace(action, end_s=video.duration_s)


def without_duplicates(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Actions of at least 1 ms, without those that repeat an earlier kept one of their class within 1 ms at both ends.

    The rule by which ActionFormer's code filters the ground truth.
    """
    long_enough = [action for action in actions if action.end_s - action.start_s >= SAME_S]
    return tuple(action for action, repeats in zip(long_enough, are_repeats(long_enough), strict=True) if not repeats)


def are_repeats(actions: Sequence[Action]) -> list[bool]:
    """Whether each action has the class and, within 1 ms, the ends of an earlier one that is no repeat itself."""
    found = []
    near: dict[tuple[str, int], list[Action]] = {}  # by label and start, so that not every pair is compared
    for action in actions:
        # twice as long as needed, so that no rounding puts two that are the same further than one slot apart
        slot = math.floor(action.start_s / (2 * SAME_S)) if math.isfinite(action.start_s) else 0
        others = (other for at in (slot - 1, slot, slot + 1) for other in near.get((action.label, at), ()))
        found.append(any(is_repeat(action, other) for other in others))
        if not found[-1]:
            near.setdefault((action.label, slot), []).append(action)
    return found


def is_repeat(action: Action, other: Action) -> bool:
    """Whether both are the same action, annotated twice."""
    return (
        action.label == other.label
        and abs(action.start_s - other.start_s) <= SAME_S
        and abs(action.end_s - other.end_s) <= SAME_S
    )
