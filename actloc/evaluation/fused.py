"""Gives detections their classes by a classifier of whole videos, and says what the classifier alone is worth."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from actloc import files
from actloc.annotations.model import Annotations
from actloc.evaluation import class_scores
from actloc.evaluation.columns import Floats
from actloc.evaluation.detection import average_precision
from actloc.evaluation.fusion import fuse
from actloc.evaluation.results import ClassifierRecord, Prediction, Predictions
from actloc.evaluation.scoring import Truth, protocol_of, to_rows, truth_of
from actloc.experiment import Experiment
from actloc.settings.sections import Fusion

UNCHANGED = "none"


def fused(
    experiment: Experiment, file: Path, annotations: Annotations, found: Predictions
) -> tuple[Predictions, ClassifierRecord]:
    """The predictions with the classes and scores that `fusion` asks for, and the classifier's own worth.

    `annotations` have all classes, whatever the detector knows. A class or video that the file lacks is an error.
    """
    settings = experiment.fusion
    truth = truth_of(annotations, experiment.dataset.evaluation_subset, protocol_of(experiment))
    needed = {video_id for video_id, listed in found.items() if listed}
    needed |= {video_id for video_id, actions in truth.actions.items() if actions}
    scores = class_scores.read(file, settings.form).aligned(file, annotations.classes, sorted(needed))
    upper = _with_true_classes(truth, found, settings)
    record = ClassifierRecord(
        file=file.name,
        sha256=files.sha256_of_file(file),
        form=settings.form,
        rule=settings.rule,
        top_k=settings.top_k,
        top_1=_top_1(truth, scores),
        true_class_mean_ap=_mean_ap(experiment, truth, upper),
    )
    if settings.rule == UNCHANGED:
        return found, record
    joined = {
        video_id: _joined(listed, scores[video_id], annotations.classes, settings) if listed else []
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


def _mean_ap(experiment: Experiment, truth: Truth, predictions: Predictions) -> list[float | None]:
    protocol = protocol_of(experiment)
    ap = average_precision(*to_rows(truth, predictions, protocol), experiment.evaluation.tious, protocol)
    return [float(value) for value in ap.mean(axis=1)]
