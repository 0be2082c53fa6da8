"""Annotations: subsets, classes, and actions that are wrong, doubtful, or there twice."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from actloc import console, files
from actloc.annotations import form, model
from actloc.annotations.beyond_end import other_unit
from actloc.annotations.class_counts import is_tiny
from actloc.annotations.model import CLIPPED_PAST_END_S, SAME_S, Action, AnnotatedVideo, Annotations
from actloc.diagnosis.finding import Finding, graded
from actloc.errors import Problem

_FEW_TO_LEARN = 3
"""Actions of a class from which hardly anything is learned."""
_PREPARE = "Correct the annotations, then run: actloc prepare CONFIG"


def read(path: Path) -> tuple[Annotations, list[Problem]]:
    """The annotations as they are written, with what cannot be understood; raises UserError if nothing can be."""
    return form.parsed_own(path, files.read_json(path, keep_odd_numbers=True))


def findings(
    annotations: Annotations, problems: Sequence[Problem], where: Path, training: str, evaluation: str
) -> list[Finding]:
    """Everything that is odd about them, for the two subsets."""
    found: list[Finding] = []
    if problems:
        what = f"{console.count(len(problems), 'entry is', 'entries are')} wrong: {console.first_ten(problems)}"
        found.append(Finding("error", "annotations", what, str(where), "Correct the entries", len(problems)))
    found += _actions(annotations, where)
    found += _subsets(annotations, where, training, evaluation)
    found += _classes(annotations, where, training, evaluation)
    return found


def _actions(annotations: Annotations, where: Path) -> Iterator[Finding]:
    odd: list[tuple[str, str, Callable[[Action, AnnotatedVideo], bool], str]] = [
        ("times", "{} with times that are no numbers, or below 0", _has_wrong_times, ""),
        ("past_end", "{} past the end of the video", _is_past_end, other_unit(annotations.videos.values())),
        ("zero_length", "{} without length, or shorter than 1 ms", _is_empty, ""),
    ]
    for kind, text, is_odd, hint in odd:
        listed = [
            (video.id, one) for video in annotations.videos.values() for one in video.actions if is_odd(one, video)
        ]
        if not listed:
            continue
        may_be = annotations.keeps_past_end and kind != "times"
        shown = console.first_ten(f"{name} {one.label} {one.start_s:g}-{one.end_s:g} s" for name, one in listed)
        what = f"{text.format(console.count(len(listed), 'action'))}: {shown}{f'. {hint}' if hint else ''}"
        yield Finding("warning" if may_be else "error", kind, what, str(where), _PREPARE, len(listed))
    unknown = sorted(
        {one.label for video in annotations.videos.values() for one in video.actions} - set(annotations.classes)
    )
    if unknown:
        fix = "Add them to the classes, or correct them"
        what = f"Labels that are no classes: {console.first_ten(unknown)}"
        yield Finding("error", "unknown_labels", what, str(where), fix, unknown)
    repeats, overlaps = [], []
    for video in annotations.videos.values():
        kept = sorted(video.actions, key=lambda one: (one.label, one.start_s, one.end_s))
        for one, following in pairwise(kept):
            if model.is_repeat(one, following):
                repeats.append(f"{video.id} {one.label} {one.start_s:g} s")
            elif one.label == following.label and following.start_s < one.end_s - SAME_S:
                overlaps.append(f"{video.id} {one.label} {following.start_s:g} s")
    if repeats:
        what = f"{console.count(len(repeats), 'action')} listed twice: {console.first_ten(repeats)}"
        yield Finding("warning", "duplicates", what, str(where), "Remove the repeats", len(repeats))
    if overlaps:
        what = f"{console.count(len(overlaps), 'action overlaps', 'actions overlap')} another of its class: "
        fix = "Check whether they are one action; at most one of them can be found by most detectors"
        yield Finding("warning", "overlaps", what + console.first_ten(overlaps), str(where), fix, len(overlaps))


def _has_wrong_times(action: Action, video: AnnotatedVideo) -> bool:
    return not (math.isfinite(action.start_s) and math.isfinite(action.end_s) and action.start_s >= 0)


def _is_past_end(action: Action, video: AnnotatedVideo) -> bool:
    end_s = video.duration_s
    return end_s is not None and (action.end_s > end_s + CLIPPED_PAST_END_S or action.start_s >= end_s)


def _is_empty(action: Action, video: AnnotatedVideo) -> bool:
    return action.end_s - action.start_s < SAME_S


def _subsets(annotations: Annotations, where: Path, training: str, evaluation: str) -> Iterator[Finding]:
    known = sorted({video.subset for video in annotations.videos.values() if video.actions})
    for subset, setting in dict.fromkeys(((training, "training_subset"), (evaluation, "evaluation_subset"))):
        videos = annotations.of_subset(subset)
        if any(video.actions for video in videos):
            continue
        nothing = "no videos" if not videos else f"no action in its {console.count(len(videos), 'video')}"
        severity = graded(not videos or setting == "training_subset", "error", "warning")
        choice = f"Set dataset.{setting} to one of: {', '.join(known)}; or annotate" if known else "Annotate"
        fix = f"{choice} videos of it"
        yield Finding(severity, "empty_subset", f"The subset {subset!r} has {nothing}", str(where), fix, subset)
    if training == evaluation:
        what = f"Training and evaluation use the same subset, {training!r}: results say nothing about new videos"
        yield Finding("warning", "same_subset", what, str(where), "Set dataset.evaluation_subset to another one")


def _classes(annotations: Annotations, where: Path, training: str, evaluation: str) -> Iterator[Finding]:
    to_learn, to_score = (
        Counter(action.label for video in annotations.of_subset(subset) for action in video.actions)
        for subset in (training, evaluation)
    )
    if not to_learn or not to_score:
        return
    unlearned = [name for name in annotations.classes if to_score[name] and not to_learn[name]]
    unscored = [name for name in annotations.classes if to_learn[name] and not to_score[name]]
    if len(unlearned) == len(to_score):
        what = f"No class of {evaluation!r} has an action in {training!r}: {console.first_ten(unlearned)}"
        fix = "Check how labels are written in both subsets"
        yield Finding("error", "class_only_in_test", what, str(where), fix, unlearned)
    elif unlearned:
        what = f"{console.first_ten(unlearned)}: actions in {evaluation!r} only, which counts as an AP of 0"
        fix = f"Move videos with them to {training!r}, or leave the classes out"
        yield Finding("warning", "class_only_in_test", what, str(where), fix, unlearned)
    if unscored:
        what = f"{console.first_ten(unscored)}: no actions in {evaluation!r}, so it is not measured"
        fix = f"Move videos with them to {evaluation!r}"
        yield Finding("warning", "class_only_in_training", what, str(where), fix, unscored)
    few = [f"{name} ({to_learn[name]})" for name in annotations.classes if 0 < to_learn[name] < _FEW_TO_LEARN]
    if few:
        what = f"Classes with fewer than {_FEW_TO_LEARN} actions to learn from: {console.first_ten(few)}"
        yield Finding("warning", "few_actions", what, str(where), "Annotate more of them; ten are a start", few)
    videos = annotations.of_subset(evaluation)
    if is_tiny(len(videos), to_score.total()):
        size = f"{console.count(len(videos), 'video')} with {console.count(to_score.total(), 'action')}"
        what = f"{evaluation!r} is small: {size}; results change much by chance"
        yield Finding("note", "small_subset", what, str(where), "Annotate more", to_score.total())
