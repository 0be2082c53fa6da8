"""Gives detections their classes by class scores: the detector's own, another classifier's, or the truth.

Also measures how good the classes are. Same arithmetic as ActionFormer (`libs/utils/postprocessing.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actloc import console, files
from actloc.annotations.model import Action
from actloc.errors import UserError
from actloc.evaluation import class_scores, scoring
from actloc.evaluation.columns import Floats, Integers
from actloc.evaluation.detection import average_precision
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import Protocol
from actloc.evaluation.results import ClassifierRecord
from actloc.evaluation.scored_windows import ScoredWindows
from actloc.evaluation.scoring import Truth, to_columns
from actloc.settings.choices import FusionRule
from actloc.settings.detections import FusionSettings
from actloc.structures import VideoDetections

UNCHANGED = "none"
OWN, TRUTH = "own", "truth"

ClassRows = Mapping[str, Floats]
"""By video id: one row of class scores (1, K) for the whole video, or one for each of its detections (N, K)."""


def own_scores(found: Iterable[VideoDetections]) -> ClassRows:
    """The class scores that the detector gave; 1 for detections without any, of a detector that knows one class.

    None of videos that could not be decoded.
    """
    rows = {}
    for video_id, detections in ((one.video_id, one.detections) for one in found):
        if detections.class_scores is not None:
            rows[video_id] = detections.class_scores.double().numpy()
        elif len(detections):
            rows[video_id] = np.ones((1, 1))
    return rows


def to_predictions(found: Sequence[VideoDetections], classes: Sequence[str], settings: FusionSettings) -> Predictions:
    """Detections with class names, and, with `fusion.scores=own`, the classes that the detector scores best."""
    predictions = scoring.to_predictions(found, classes)
    if settings.scores != OWN or settings.rule == UNCHANGED:
        return predictions
    return _fused(predictions, own_scores(found), classes, settings)


def with_classifier(
    predictions: Predictions,
    own: ClassRows,
    truth: Truth,
    settings: FusionSettings,
    tious: Sequence[float],
    protocol: Protocol,
) -> tuple[Predictions, ClassifierRecord]:
    """The predictions with the classes and scores that `settings` ask for, and how good the classes are by themselves.

    `own` are the detector's class scores; `truth` has all classes of the dataset, also those that the detector does not
    know. Raises UserError if a file has no scores for a class or a video, or no windows where `settings` need them.
    """
    file = settings.scores if isinstance(settings.scores, Path) else None
    rows: ClassRows
    windows: Mapping[str, ScoredWindows] = {}
    per = settings.per
    facts: class_scores.Facts = {}
    if file is not None:
        scores = class_scores.read(file, settings.form, settings.per)
        facts = scores.facts
        needed = {video_id for video_id, listed in predictions.items() if listed}
        needed |= {video_id for video_id, actions in truth.actions.items() if actions}
        if per == "segment":
            windows = scores.aligned_windows(file, truth.classes, sorted(needed))
            rows = {video_id: windows[video_id].of(_ends(listed)) for video_id, listed in predictions.items() if listed}
        else:
            of_file = scores.aligned(file, truth.classes, sorted(needed))
            rows = {video_id: row[None] for video_id, row in of_file.items()}
    elif settings.scores == TRUTH:
        rows = _true_scores(truth)
        settings = settings.model_copy(update={"top_k": 1})
    else:
        rows = own
        if any(len(one) > 1 for one in own.values()):
            per = "segment"
            found = {video_id: of_video for video_id, of_video in own.items() if len(of_video)}
            windows = {video_id: ScoredWindows(_ends(predictions[video_id]), one) for video_id, one in found.items()}
    labelled = _with_classes_beneath if per == "segment" else _with_true_classes
    upper_bound: list[float | None] = [None] * len(tious)
    if any(truth.actions.values()):
        perfect = to_columns(truth, labelled(truth, predictions, settings), protocol)
        upper_bound = [float(ap) for ap in average_precision(*perfect, tious, protocol).mean(axis=1)]
    record = ClassifierRecord(
        file=str(settings.scores) if file is None else file.name,
        sha256=None if file is None else files.sha256_of_file(file),
        form=None if file is None else settings.form,
        facts=dict(facts),
        per=per,
        rule=settings.rule,
        labels=settings.labels,
        top_k=settings.top_k,
        top_1=_top_1_of_actions(truth, windows) if per == "segment" else _top_1_of_videos(truth, rows),
        true_class_mean_ap=upper_bound,
        is_upper_bound=settings.scores == TRUTH and settings.rule != UNCHANGED,
    )
    if settings.rule == UNCHANGED:
        return predictions, record
    return _fused(predictions, rows, truth.classes, settings), record


def _ends(listed: Sequence[Prediction] | Sequence[Action]) -> Floats:
    """Start and end in seconds (N, 2)."""
    return np.array([(one.start_s, one.end_s) for one in listed])


def _fused(predictions: Predictions, rows: ClassRows, classes: Sequence[str], settings: FusionSettings) -> Predictions:
    """Videos without class scores lose their predictions: nothing says what class they are."""
    keeps = settings.labels == "keep"
    if keeps:
        _refuse_other_labels(predictions, classes)
    fused: Predictions = {}
    for video_id, listed in predictions.items():
        fused[video_id] = []
        if listed and video_id in rows:
            own, scores = np.array([one.score for one in listed]), rows[video_id]
            if keeps:
                labels = [classes.index(one.label) for one in listed]
                scores = np.broadcast_to(scores, (len(listed), len(classes)))[range(len(listed)), labels][:, None]
            kept = fuse(own, scores, settings.rule, settings.top_k, settings.most_detections)
            fused[video_id] = [
                replace(listed[row], label=listed[row].label if keeps else classes[label], score=float(score))
                for row, label, score in zip(*kept, strict=True)
            ]
    return fused


def _refuse_other_labels(predictions: Predictions, classes: Sequence[str]) -> None:
    others = {one.label for listed in predictions.values() for one in listed} - set(classes)
    if others:
        raise UserError(
            f"fusion.labels is keep, but detections are labelled {console.first_ten(sorted(others))}.",
            f"Expected classes of the dataset: {console.first_ten(classes)}.",
            "Give the detections the best classes instead: fusion.labels=replace",
        )


def _true_scores(truth: Truth) -> dict[str, Floats]:
    """1 for the class of each video's first true action; nothing for videos without one."""
    number, every = truth.class_number, np.eye(len(truth.classes))
    return {video_id: every[None, number[actions[0].label]] for video_id, actions in truth.actions.items() if actions}


def _with_true_classes(truth: Truth, predictions: Predictions, settings: FusionSettings) -> Predictions:
    """The detections as a perfect classifier would label them: each once for every class that its video has."""
    perfect = {}
    for video_id, actions in truth.actions.items():
        labels = sorted({action.label for action in actions})
        best = sorted(predictions.get(video_id, []), key=lambda one: -one.score)[: settings.most_detections]
        perfect[video_id] = [replace(one, label=label) for label in labels for one in best]
    return perfect


def _with_classes_beneath(truth: Truth, predictions: Predictions, settings: FusionSettings) -> Predictions:
    """The detections as a perfect classifier of segments would label them: as the true action that each overlaps most.

    Those that overlap none keep their class.
    """
    perfect = {}
    for video_id, listed in predictions.items():
        actions, best = truth.actions.get(video_id, ()), sorted(listed, key=lambda one: -one.score)
        perfect[video_id] = best = best[: settings.most_detections]
        if actions and best:
            ends, true = _ends(best)[:, None], _ends(actions)  # (N, 1, 2), (M, 2)
            shared = np.minimum(ends[..., 1], true[:, 1]) - np.maximum(ends[..., 0], true[:, 0])
            union = np.maximum(ends[..., 1], true[:, 1]) - np.minimum(ends[..., 0], true[:, 0])
            overlap = shared / np.maximum(union, np.finfo(float).tiny)
            pairs = zip(best, overlap.argmax(axis=1), overlap.max(axis=1), strict=True)
            perfect[video_id] = [
                replace(one, label=actions[row].label) if most > 0 else one for one, row, most in pairs
            ]
    return perfect


def _top_1_of_videos(truth: Truth, rows: ClassRows) -> float | None:
    """The share of videos with true actions whose highest-scoring class is one of theirs."""
    is_right = [
        video_id in rows
        and len(rows[video_id]) > 0
        and truth.classes[int(rows[video_id].mean(axis=0).argmax())] in {action.label for action in actions}
        for video_id, actions in truth.actions.items()
        if actions
    ]
    return float(np.mean(is_right)) if is_right else None


def _top_1_of_actions(truth: Truth, windows: Mapping[str, ScoredWindows]) -> float | None:
    """The share of true actions whose class scores highest in the windows of their segment."""
    is_right: list[bool] = []
    for video_id, actions in truth.actions.items():
        if actions and video_id in windows:
            best = windows[video_id].of(_ends(actions)).argmax(axis=1)
            is_right += [truth.classes[row] == action.label for row, action in zip(best, actions, strict=True)]
        else:
            is_right += [False] * len(actions)
    return float(np.mean(is_right)) if is_right else None


def fuse(
    detection_scores: Floats, class_scores: Floats, rule: FusionRule, top_k: int, most: int
) -> tuple[Integers, Integers, Floats]:
    """Rows, class numbers and scores of one video's fused detections: all with their best class, then with the next.

    Keeps the `most` of highest score among `detection_scores` (N,), each once for every one of its `top_k` best
    classes; `class_scores` are (K,) or (1, K) for all of them, or (N, K). Of equal scores the later one goes first, as
    in the evaluator.
    """
    rows = np.argsort(detection_scores, kind="stable")[::-1][:most]
    of_rows = np.broadcast_to(class_scores, (len(detection_scores), class_scores.shape[-1]))[rows]
    labels = np.argsort(of_rows, axis=1, kind="stable")[:, ::-1][:, :top_k]
    joint = np.take_along_axis(of_rows, labels, axis=1) * detection_scores[rows, None].astype(np.float64)
    scores = np.sqrt(joint) if rule == "sqrt" else joint
    return np.tile(rows, labels.shape[1]), labels.T.ravel(), scores.T.ravel()
