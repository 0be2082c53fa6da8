"""What contradicts an annotation, and how much the predictions of a run are worth."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from actloc.annotations.model import Action, AnnotatedVideo
from actloc.evaluation.predictions import Prediction, Predictions

Kind = Literal["missed", "boundary", "class", "unlabelled"]
MATCH = 0.5
"""The temporal IoU at which a prediction and an annotation are of the same action."""
NEAR = 0.1
"""The temporal IoU from which a prediction is near an annotation."""
_MOST_PER_VIDEO = 200
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


@dataclass(frozen=True)
class Suspicion:
    """An annotation, or a segment without one, that the run contradicts."""

    kind: Kind
    video_id: str
    action: Action | None
    """The annotation; None where the run finds an action that has none."""
    suspicion: float
    """How likely the annotation is wrong, from 0 to 1, as the file of its kind defines it."""
    suggested: Action | None
    """What the run finds in its place; None where it finds nothing."""
    sentence: str

    @property
    def start_s(self) -> float:
        """Where the audit looks first, for the order in a video."""
        shown = self.action or self.suggested
        return shown.start_s if shown else 0.0


@dataclass(frozen=True)
class Judged:
    """A video with the predictions of a run, the best first, and how likely each is a true action."""

    video: AnnotatedVideo
    found: tuple[Prediction, ...]
    confidences: tuple[float, ...]
    overlaps: np.ndarray
    """(predictions, annotations): their temporal IoU."""


@dataclass(frozen=True)
class Judgement:
    """All videos that are audited, and what is usual for the run on them."""

    videos: tuple[Judged, ...]
    supports: np.ndarray
    """Sorted: of each annotation, the confidence of the surest prediction near it, of any class."""
    scores_of_true: np.ndarray
    """Sorted: of each annotation, the confidence of the surest prediction of its class that matches it; 0 if none."""
    usual_deviation: float
    """The median distance of a predicted boundary from that of the annotation it matches, as a share of its length."""

    def share_up_to(self, support: float) -> float:
        """The share of annotations with no more support."""
        return float(np.searchsorted(self.supports, support, side="right")) / max(len(self.supports), 1)

    def share_below(self, confidence: float) -> float:
        """The share of annotations whose own prediction is less sure; those that are as sure count a half."""
        below, up_to = (np.searchsorted(self.scores_of_true, confidence, side=side) for side in _SIDES)
        return float(below + up_to) / 2 / max(len(self.scores_of_true), 1)


_LEAST_DEVIATION = 0.05
"""A run whose boundaries are nearer than this is not known to be that exact: labels are not."""


def judged(videos: Sequence[AnnotatedVideo], predictions: Predictions) -> Judgement:
    """The judgement of a run on these videos; a video without an entry in `predictions` is not judged.

    Confidence is the share of predictions of such a score that match an annotation of their class, each annotation
    once, forced to rise with the score (isotonic regression by pooling adjacent violators: Ayer et al. 1955).
    """
    known = [video for video in videos if video.id in predictions]
    best = [sorted(predictions[video.id], key=lambda one: -one.score)[:_MOST_PER_VIDEO] for video in known]
    overlaps = [_overlaps(found, video.actions) for video, found in zip(known, best, strict=True)]
    correct = [_correct(*one) for one in zip(known, best, overlaps, strict=True)]
    scores = np.array([one.score for found in best for one in found])
    hits = np.array([hit for one in correct for hit in one], dtype=float)
    confidences = np.split(_calibrated(scores, hits), np.cumsum([len(found) for found in best])[:-1]) if best else []
    listed = tuple(
        Judged(video, tuple(found), tuple(float(value) for value in own), overlap)
        for video, found, own, overlap in zip(known, best, confidences, overlaps, strict=True)
    )
    supports, own_scores, deviations = [], [], []
    for one in listed:
        for number, action in enumerate(one.video.actions):
            column = one.overlaps[:, number]
            of_class = np.array([prediction.label == action.label for prediction in one.found], dtype=bool)
            own = np.array(one.confidences)
            supports.append(float(own[column >= NEAR].max(initial=0.0)))
            matching = np.flatnonzero((column >= MATCH) & of_class)
            own_scores.append(float(own[matching].max(initial=0.0)))
            if len(matching):
                deviations.append(deviation(one.found[matching[own[matching].argmax()]], action))
    usual = max(_LEAST_DEVIATION, statistics.median(deviations)) if deviations else 1.0
    return Judgement(listed, np.sort(supports), np.sort(own_scores), usual)


def deviation(found: Prediction, action: Action) -> float:
    """The distance of the boundary that is further away, as a share of the length of the annotation."""
    furthest = max(abs(found.start_s - action.start_s), abs(found.end_s - action.end_s))
    return furthest / max(action.end_s - action.start_s, 1e-9)


def as_action(found: Prediction) -> Action:
    """The action that a prediction suggests."""
    return Action(found.start_s, found.end_s, found.label)


def overlap(one: Prediction | Action, other: Prediction | Action) -> float:
    """The temporal IoU of two segments."""
    shared = max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
    return shared / max(one.end_s - one.start_s + other.end_s - other.start_s - shared, 1e-9)


def _overlaps(found: Sequence[Prediction], actions: Sequence[Action]) -> np.ndarray:
    values = [[overlap(one, action) for action in actions] for one in found]
    return np.array(values, dtype=float).reshape(len(found), len(actions))


def _correct(video: AnnotatedVideo, found: Sequence[Prediction], overlaps: np.ndarray) -> list[bool]:
    """Whether each prediction matches an annotation of its class that no better prediction took."""
    taken: set[int] = set()
    listed = []
    for row, one in zip(overlaps, found, strict=True):
        free = [
            (row[number], number)
            for number, action in enumerate(video.actions)
            if action.label == one.label and number not in taken and row[number] >= MATCH
        ]
        if free:
            taken.add(max(free)[1])
        listed.append(bool(free))
    return listed


def _calibrated(scores: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The share of hits among predictions of about the same score, one hit and one miss added to each share.

    Equal scores have equal confidence.
    """
    if not len(scores):
        return np.zeros(0)
    _, place, numbers = np.unique(scores, return_inverse=True, return_counts=True)
    blocks: list[tuple[float, int, int]] = []  # hits, predictions, different scores
    for total, number in zip(np.bincount(place, weights=hits), numbers, strict=True):
        blocks.append((float(total), int(number), 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = (blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2] + last[2])
    # with few predictions in a block the added ones could make the curve fall again
    shares = np.maximum.accumulate([(total + 1) / (number + 2) for total, number, _ in blocks])
    of_scores: np.ndarray = np.repeat(shares, [different for _, _, different in blocks])
    return of_scores[place]
