"""What differs between two states of a dataset's annotations, counted and named, for whoever reuses a run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from actloc import console
from actloc.annotations.model import Action, AnnotatedVideo, Annotations


@dataclass(frozen=True)
class Changes:
    """The differences, as lines to print, and the classes that only have another name now."""

    lines: tuple[str, ...]
    renamed: Mapping[str, str]
    """The new name of each renamed class by its old one."""


def changes(old: Annotations, new: Annotations) -> Changes:
    """The differences from `old` to `new`; no lines if a network would learn and be scored the same.

    Where the files of videos are does not matter.
    """
    renamed = _renamed(old, new)
    both = sorted(old.videos.keys() & new.videos.keys())
    pairs = [(old.videos[video_id], new.videos[video_id]) for video_id in both]
    added = [video for video_id, video in new.videos.items() if video_id not in old.videos]
    removed = [video for video_id, video in old.videos.items() if video_id not in new.videos]
    lines = [
        *_videos("added", added),
        *_videos("removed", removed),
        *_moved(pairs),
        *_classes(old.classes, new.classes, renamed),
        *_actions(pairs, renamed),
        *_facts(pairs),
        *_annotated(pairs),
    ]
    if old.variant != new.variant:
        lines.append(f"another variant: {old.variant or 'none'} before, {new.variant or 'none'} now")
    return Changes(tuple(lines), renamed)


def _renamed(old: Annotations, new: Annotations) -> dict[str, str]:
    """Classes that are gone, each with the new class that all its actions in videos that are still there have."""
    gone, come = set(old.classes) - set(new.classes), set(new.classes) - set(old.classes)
    now: dict[tuple[str, float, float], set[str]] = {}
    for video in new.videos.values():
        for action in video.actions:
            now.setdefault((video.id, action.start_s, action.end_s), set()).add(action.label)
    candidates: dict[str, set[str]] = {}
    for video in old.videos.values():
        for action in video.actions if video.id in new.videos else ():
            if action.label in gone:
                found = now.get((video.id, action.start_s, action.end_s), set()) & come
                candidates[action.label] = candidates.get(action.label, found) & found
    renamed = {label: next(iter(found)) for label, found in candidates.items() if len(found) == 1}
    takers = Counter(renamed.values())  # two old classes that became one were merged, not renamed
    return {label: name for label, name in sorted(renamed.items()) if takers[name] == 1}


def _videos(what: str, videos: Sequence[AnnotatedVideo]) -> list[str]:
    if not videos:
        return []
    subsets = ", ".join(f"{number} {subset}" for subset, number in sorted(Counter(v.subset for v in videos).items()))
    return [f"{console.count(len(videos), 'video')} {what} ({subsets}): {console.first_ten(v.id for v in videos)}"]


def _moved(pairs: Iterable[tuple[AnnotatedVideo, AnnotatedVideo]]) -> list[str]:
    by_way: dict[tuple[str, str], list[str]] = {}
    for before, after in pairs:
        if before.subset.lower() != after.subset.lower():
            by_way.setdefault((before.subset, after.subset), []).append(before.id)
    return [
        f"{console.count(len(ids), 'video')} moved from {before} to {after}: {console.first_ten(ids)}"
        for (before, after), ids in sorted(by_way.items())
    ]


def _classes(old: Sequence[str], new: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    added = [name for name in new if name not in old and name not in renamed.values()]
    removed = [name for name in old if name not in new and name not in renamed]
    lines = []
    if renamed:
        names = console.first_ten(f"{before} -> {after}" for before, after in renamed.items())
        lines.append(f"{console.count(len(renamed), 'class', 'classes')} renamed: {names}")
    for what, listed in (("added", added), ("removed", removed)):
        if listed:
            lines.append(f"{console.count(len(listed), 'class', 'classes')} {what}: {console.first_ten(listed)}")
    if not lines and list(old) != list(new):
        lines.append("the classes are in another order")
    return lines


def _actions(pairs: Iterable[tuple[AnnotatedVideo, AnnotatedVideo]], renamed: Mapping[str, str]) -> list[str]:
    """Of the actions of one video that have no equal on the other side, as many changed as both sides have."""
    counts: dict[str, int] = dict.fromkeys(("added", "removed", "changed"), 0)
    where: dict[str, list[str]] = {what: [] for what in counts}
    for old, new in pairs:
        before = Counter(_with_new_names(old.actions, renamed))
        after = Counter(new.actions)
        gone, come = (before - after).total(), (after - before).total()
        found = {"changed": min(gone, come), "added": max(come - gone, 0), "removed": max(gone - come, 0)}
        for what, number in found.items():
            counts[what] += number
            where[what] += [old.id] * (number > 0)
    return [
        f"{console.count(number, 'action')} {what} in {console.count(len(where[what]), 'video')}: "
        f"{console.first_ten(where[what])}"
        for what, number in counts.items()
        if number
    ]


def _with_new_names(actions: Sequence[Action], renamed: Mapping[str, str]) -> list[Action]:
    return [replace(action, label=renamed.get(action.label, action.label)) for action in actions]


def _annotated(pairs: Iterable[tuple[AnnotatedVideo, AnnotatedVideo]]) -> list[str]:
    ids = [old.id for old, new in pairs if old.annotated != new.annotated]
    verb = "has" if len(ids) == 1 else "have"
    return [f"{console.count(len(ids), 'video')} {verb} another annotated time: {console.first_ten(ids)}"] * bool(ids)


def _facts(pairs: Iterable[tuple[AnnotatedVideo, AnnotatedVideo]]) -> list[str]:
    def facts(video: AnnotatedVideo) -> tuple[object, ...]:
        return video.duration_s, video.fps, video.frames, video.ambiguous, video.rows

    ids = [old.id for old, new in pairs if facts(old) != facts(new)]
    verb = "has", "have"
    return [
        f"{console.count(len(ids), 'video')} {verb[len(ids) > 1]} another duration, rate or length in frames: "
        f"{console.first_ten(ids)}"
    ] * bool(ids)
