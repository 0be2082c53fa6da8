"""Gives detections their classes by a classifier of whole videos, and says what the classifier alone is worth.

The arithmetic is ActionFormer's (`libs/utils/postprocessing.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actloc import files
from actloc.evaluation import class_scores
from actloc.evaluation.columns import Floats, Integers
from actloc.evaluation.detection import average_precision
from actloc.evaluation.protocols import Protocol
from actloc.evaluation.results import ClassifierRecord, Prediction, Predictions
from actloc.evaluation.scoring import Truth, to_rows
from actloc.settings.choices import FusionRule
from actloc.settings.sections import Fusion

UNCHANGED = "none"


def with_classifier(
    file: Path, found: Predictions, truth: Truth, settings: Fusion, tious: Sequence[float], protocol: Protocol
) -> tuple[Predictions, ClassifierRecord]:
    """The predictions with the classes and scores that `settings` ask for, and the classifier's own worth.

    `truth` has all classes, whatever the detector knows. A class or video that is missing in the file is an error.
    """
    needed = {video_id for video_id, listed in found.items() if listed}
    needed |= {video_id for video_id, actions in truth.actions.items() if actions}
    scores = class_scores.read(file, settings.form).aligned(file, truth.classes, sorted(needed))
    upper = _with_true_classes(truth, found, settings)
    record = ClassifierRecord(
        file=file.name,
        sha256=files.sha256_of_file(file),
        form=settings.form,
        rule=settings.rule,
        top_k=settings.top_k,
        top_1=_top_1(truth, scores),
        true_class_mean_ap=_mean_ap(truth, upper, tious, protocol),
    )
    if settings.rule == UNCHANGED:
        return found, record
    joined = {
        video_id: _joined(listed, scores[video_id], truth.classes, settings) if listed else []
        for video_id, listed in found.items()
    }
    return joined, record


def _joined(listed: list[Prediction], scores: Floats, classes: tuple[str, ...], settings: Fusion) -> list[Prediction]:
    own = np.array([one.score for one in listed])
    rows, labels, joint = fuse(own, scores, settings.rule, settings.top_k, settings.most_detections)
    return [
        replace(listed[row], label=classes[label], score=float(score))
        for row, label, score in zip(rows, labels, joint, strict=True)
    ]


def _with_true_classes(truth: Truth, found: Predictions, settings: Fusion) -> Predictions:
    """What a perfect classifier would make of the detections: each once for every class that its video has."""
    perfect = {}
    for video_id, actions in truth.actions.items():
        labels = sorted({action.label for action in actions})
        best = sorted(found.get(video_id, []), key=lambda one: -one.score)[: settings.most_detections]
        perfect[video_id] = [replace(one, label=label) for label in labels for one in best]
    return perfect


def _top_1(truth: Truth, scores: dict[str, Floats]) -> float | None:
    """The share of videos with truth whose best class is one of theirs."""
    is_right = [
        truth.classes[int(scores[video_id].argmax())] in {action.label for action in actions}
        for video_id, actions in truth.actions.items()
        if actions
    ]
    return float(np.mean(is_right)) if is_right else None


def _mean_ap(truth: Truth, predictions: Predictions, tious: Sequence[float], protocol: Protocol) -> list[float | None]:
    ap = average_precision(*to_rows(truth, predictions, protocol), tious, protocol)
    return [float(value) for value in ap.mean(axis=1)]


def fuse(
    detection_scores: Floats, class_scores: Floats, rule: FusionRule, top_k: int, most: int
) -> tuple[Integers, Integers, Floats]:
    """Rows, class numbers and scores of the fused detections of one video: all with the best class, then the next.

    The `most` best detections stay, each once for every one of the `top_k` best classes. Of equal scores the later
    goes first, as in the evaluator.
    """
    rows = _best(detection_scores, most)
    labels = _best(class_scores, top_k)
    joint = class_scores[labels][:, None] * detection_scores[rows].astype(np.float64)[None]
    scores = np.sqrt(joint) if rule == "sqrt" else joint
    return np.tile(rows, len(labels)), np.repeat(labels, len(rows)), scores.ravel()


def _best(scores: Floats, most: int) -> Integers:
    return np.argsort(scores, kind="stable")[::-1][:most]
