"""Takes the classes of detections from a classifier of whole videos, and measures how good that classifier is.

Same arithmetic as ActionFormer (`libs/utils/postprocessing.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actloc import files
from actloc.evaluation import class_scores
from actloc.evaluation.columns import Floats, Integers
from actloc.evaluation.detection import average_precision
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import Protocol
from actloc.evaluation.results import ClassifierRecord
from actloc.evaluation.scoring import Truth, to_columns
from actloc.settings.choices import FusionRule
from actloc.settings.sections import FusionSettings

UNCHANGED = "none"


def with_classifier(
    file: Path,
    predictions: Predictions,
    truth: Truth,
    settings: FusionSettings,
    tious: Sequence[float],
    protocol: Protocol,
) -> tuple[Predictions, ClassifierRecord]:
    """The predictions with the classes and scores that `settings` ask for, and how good the classifier is by itself.

    `truth` has all classes of the dataset, also those that the detector does not know. Raises UserError if the file
    has no scores for a class or a video.
    """
    needed = {video_id for video_id, listed in predictions.items() if listed}
    needed |= {video_id for video_id, actions in truth.actions.items() if actions}
    scores = class_scores.read(file, settings.form).aligned(file, truth.classes, sorted(needed))
    upper_bound = to_columns(truth, _with_true_classes(truth, predictions, settings), protocol)
    record = ClassifierRecord(
        file=file.name,
        sha256=files.sha256_of_file(file),
        form=settings.form,
        rule=settings.rule,
        top_k=settings.top_k,
        top_1=_top_1(truth, scores),
        true_class_mean_ap=[float(ap) for ap in average_precision(*upper_bound, tious, protocol).mean(axis=1)],
    )
    if settings.rule == UNCHANGED:
        return predictions, record
    fused = {
        video_id: _fused(listed, scores[video_id], truth.classes, settings) if listed else []
        for video_id, listed in predictions.items()
    }
    return fused, record


def _fused(
    listed: list[Prediction], scores: Floats, classes: tuple[str, ...], settings: FusionSettings
) -> list[Prediction]:
    own = np.array([one.score for one in listed])
    rows, labels, fused_scores = fuse(own, scores, settings.rule, settings.top_k, settings.most_detections)
    return [
        replace(listed[row], label=classes[label], score=float(score))
        for row, label, score in zip(rows, labels, fused_scores, strict=True)
    ]


def _with_true_classes(truth: Truth, predictions: Predictions, settings: FusionSettings) -> Predictions:
    """The detections as a perfect classifier would label them: each once for every class that its video has."""
    perfect = {}
    for video_id, actions in truth.actions.items():
        labels = sorted({action.label for action in actions})
        best = sorted(predictions.get(video_id, []), key=lambda one: -one.score)[: settings.most_detections]
        perfect[video_id] = [replace(one, label=label) for label in labels for one in best]
    return perfect


def _top_1(truth: Truth, scores: dict[str, Floats]) -> float | None:
    """The share of videos with true actions whose highest-scoring class is one of theirs."""
    is_right = [
        truth.classes[int(scores[video_id].argmax())] in {action.label for action in actions}
        for video_id, actions in truth.actions.items()
        if actions
    ]
    return float(np.mean(is_right)) if is_right else None


def fuse(
    detection_scores: Floats, class_scores: Floats, rule: FusionRule, top_k: int, most: int
) -> tuple[Integers, Integers, Floats]:
    """Rows, class numbers and scores of one video's fused detections: all with the best class, then with the next.

    Keeps the `most` detections of highest score, each once for every one of the `top_k` best classes. Of equal scores
    the later one goes first, as in the evaluator.
    """
    rows = _best(detection_scores, most)
    labels = _best(class_scores, top_k)
    joint = class_scores[labels][:, None] * detection_scores[rows].astype(np.float64)[None]
    scores = np.sqrt(joint) if rule == "sqrt" else joint
    return np.tile(rows, len(labels)), np.repeat(labels, len(rows)), scores.ravel()


def _best(scores: Floats, most: int) -> Integers:
    return np.argsort(scores, kind="stable")[::-1][:most]
