"""Videos that are in two subsets: the same file under two names, or nearly the same content."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actloc import console, files
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.diagnosis.finding import Finding

_SAME_TIME_S = 0.1
_SAME_DURATION = 0.02
_NEAR = 0.1
"""The distance of two signatures, as a share of the longer, below which two videos show the same."""
Signatures = Mapping[str, NDArray[np.float32]]
"""By video: what it looks like over time, on an even grid of equal shape for all of the same features."""


def findings(annotations: Annotations, training: str, evaluation: str, signatures: Signatures) -> list[Finding]:
    """A finding for each kind of evidence that one video is in both subsets."""
    learned, scored = annotations.of_subset(training), annotations.of_subset(evaluation)
    if training.lower() == evaluation.lower():
        return []
    found, told = [], set[tuple[str, str]]()
    for kind, what, pairs in (
        ("same_video", "have the same file", _same_files(learned, scored)),
        ("near_duplicate", "have nearly the same content", _near_contents(learned, scored, signatures)),
        ("near_duplicate", "have the same length and the same actions", _same_actions(learned, scored)),
    ):
        new = [pair for pair in pairs if pair not in told]
        told.update(new)
        if new:
            listed = console.first_ten(f"{one} and {other}" for one, other in new)
            text = f"{console.count(len(new), 'pair')} of videos of {training!r} and {evaluation!r} {what}: {listed}"
            fix = "Move both to one subset, else results are of videos that were learned"
            found.append(Finding("warning", kind, text, new[0][1], fix, [list(pair) for pair in new]))
    return found


def _same_files(learned: Iterable[AnnotatedVideo], scored: Iterable[AnnotatedVideo]) -> list[tuple[str, str]]:
    sizes: dict[int, list[tuple[str, Path]]] = {}
    for video in learned:
        if video.file is not None and video.file.is_file():
            sizes.setdefault(video.file.stat().st_size, []).append((video.id, video.file))
    pairs = []
    for video in scored:
        if video.file is None or not video.file.is_file():
            continue
        for other, file in sizes.get(video.file.stat().st_size, ()):
            if file.samefile(video.file) or files.sha256_of_file(file) == files.sha256_of_file(video.file):
                pairs.append((other, video.id))
    return pairs


def _near_contents(
    learned: Iterable[AnnotatedVideo], scored: Iterable[AnnotatedVideo], signatures: Signatures
) -> list[tuple[str, str]]:
    if not signatures:
        return []
    usual = Counter(one.shape for one in signatures.values()).most_common(1)[0][0]
    signatures = {name: one for name, one in signatures.items() if one.shape == usual}
    every = np.stack(list(signatures.values()))
    centre, spread = every.mean(axis=(0, 1)), every.std(axis=(0, 1))
    varying = spread > 0
    plain = {
        name: (((one - centre) / np.where(varying, spread, 1))[:, varying]).ravel() for name, one in signatures.items()
    }
    pairs = []
    mine = [video for video in learned if video.id in plain]
    for video in scored:
        if video.id not in plain or not mine:
            continue
        own = plain[video.id]
        for other in mine:
            theirs = plain[other.id]
            longer = max(float(np.linalg.norm(own)), float(np.linalg.norm(theirs)))
            if longer > 0 and _alike(video, other) and float(np.linalg.norm(own - theirs)) < _NEAR * longer:
                pairs.append((other.id, video.id))
    return pairs


def _alike(one: AnnotatedVideo, other: AnnotatedVideo) -> bool:
    """Whether the lengths, if known, are nearly the same."""
    if not one.duration_s or not other.duration_s:
        return True
    return abs(one.duration_s - other.duration_s) <= _SAME_DURATION * max(one.duration_s, other.duration_s)


def _same_actions(learned: Iterable[AnnotatedVideo], scored: Iterable[AnnotatedVideo]) -> list[tuple[str, str]]:
    by_labels: dict[tuple[str, ...], list[AnnotatedVideo]] = {}
    for video in learned:
        if len(video.actions) > 1:  # a single one may be the same by chance
            by_labels.setdefault(_labels(video), []).append(video)
    pairs = []
    for video in scored:
        for other in by_labels.get(_labels(video), ()):
            times = zip(_times(video), _times(other), strict=True)
            if _alike(video, other) and all(abs(mine - theirs) <= _SAME_TIME_S for mine, theirs in times):
                pairs.append((other.id, video.id))
    return pairs


def _labels(video: AnnotatedVideo) -> tuple[str, ...]:
    return tuple(one.label for one in sorted(video.actions, key=lambda one: (one.start_s, one.end_s, one.label)))


def _times(video: AnnotatedVideo) -> list[float]:
    ordered = sorted(video.actions, key=lambda one: (one.start_s, one.end_s, one.label))
    return [time for one in ordered for time in (one.start_s, one.end_s)]
