"""Scores detections against a subset's annotations and records where the numbers come from."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import actloc
from actloc import provenance
from actloc.annotations import model
from actloc.annotations.annotated_time import is_mostly_outside
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation import bootstrap, detection
from actloc.evaluation.columns import Intervals, PredictionColumns, TruthColumns
from actloc.evaluation.error_analysis.bins import bins_for
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.proposals import proposal_recall
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from actloc.evaluation.results import (
    TOO_LONG,
    UNKNOWN_LABELS,
    UNKNOWN_VIDEOS,
    ClassifierRecord,
    Counts,
    Results,
    Threshold,
    TrainedRun,
    TrueAction,
    Video,
)
from actloc.settings import code_files
from actloc.settings.published import PublishedMap
from actloc.settings.sections import EvaluationSettings
from actloc.structures import VideoDetections

_OUTSIDE = "predictions outside the annotated time"


def to_predictions(found: Sequence[VideoDetections], classes: Sequence[str]) -> Predictions:
    """Detections with class names, videos sorted by id, each video's detections in the order given."""
    return {
        video.video_id: [
            Prediction(classes[label], _shortest(score), _shortest(start), _shortest(end))
            for (start, end), score, label in zip(
                video.detections.segments.numpy(),
                video.detections.scores.numpy(),
                video.detections.labels.tolist(),
                strict=True,
            )
        ]
        for video in sorted(found, key=lambda video: video.video_id)
    }


def _shortest(value: np.float32) -> float:
    """The shortest decimal that is this float32: 1.2, not 1.2000000476837158; and 0.0, not -0.0."""
    return float(str(value)) + 0.0


@dataclass(frozen=True)
class Truth:
    """A subset's videos and the actions that count."""

    videos: list[AnnotatedVideo]
    actions: dict[str, tuple[Action, ...]]
    classes: tuple[str, ...]
    variant: str = ""
    """The published variant of the dataset."""

    @property
    def class_number(self) -> dict[str, int]:
        """The number of each class by its name."""
        return {name: number for number, name in enumerate(self.classes)}


@dataclass(frozen=True)
class Origin:
    """Where predictions come from: a checkpoint, or a file, which has no weights and no seed."""

    name: str
    run_name: str
    weights: Literal["averaged", "raw"] | None = None
    seed: int | None = None
    file: str | None = None
    """The name of the file that they were read from."""
    missing: tuple[str, ...] = ()
    """Videos without features: their true actions count as missed."""
    too_long: tuple[str, ...] = ()
    """Videos that are too long for the detector, likewise."""
    classifier: ClassifierRecord | None = None
    """What gave the predictions their classes."""
    settings: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values
    """The settings that shape results, as used; `changed` are those that are not the run's own."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    annotations_sha256: str | None = None
    trained: TrainedRun | None = None
    """What is known about the run's training."""
    published: PublishedMap | None = None
    cut_videos: Mapping[str, int] = field(default_factory=dict)
    """By setting and value: the videos of which a limit left out detections of lower scores."""


def truth_of(annotations: Annotations, subset: str, protocol: Protocol) -> Truth:
    """The subset's ground truth; if the protocol says so, without repeats and actions shorter than 1 ms."""
    videos = annotations.of_subset(subset)
    actions = {
        video.id: model.without_duplicates(video.actions) if protocol.drops_repeats else video.actions
        for video in videos
    }
    return Truth(videos, actions, annotations.classes, annotations.variant)


def provenance_of_results() -> dict[str, Any]:  # Any: fields of a results head
    """Which code measured, on which machine, when."""
    return {
        "commit": provenance.commit(),
        "code": {file.path: file.sha256 for file in code_files.in_use()},
        "machine": provenance.machine(),
        "version": actloc.__version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def score(
    dataset_name: str,
    subset: str,
    truth: Truth,
    predictions: Predictions,
    origin: Origin,
    evaluation: EvaluationSettings,
) -> Results:
    """Everything `eval` measures about the predictions for one subset."""
    tious, protocol = evaluation.tious, PROTOCOLS[evaluation.protocol]
    truth_columns, columns = to_columns(truth, predictions, protocol)
    ap = detection.average_precision(truth_columns, columns, tious, protocol)
    present = {int(label): column for column, label in enumerate(truth_columns.classes)}
    means = ap.mean(axis=1)
    labels = range(len(truth.classes))
    times = bootstrap.times_of(video_order(truth, predictions), truth.actions)
    return Results(
        name=origin.run_name,
        dataset=dataset_name,
        variant=truth.variant,
        subset=subset,
        protocol=evaluation.protocol,
        seed=origin.seed,
        checkpoint=origin.name,
        weights=origin.weights,
        **provenance_of_results(),
        settings=dict(origin.settings),
        changed=dict(origin.changed),
        annotations_sha256=origin.annotations_sha256,
        trained=origin.trained,
        tious=list(tious),
        mean_ap=[float(value) for value in means],
        average_map=float(means.mean()),
        classes=list(truth.classes),
        class_ap=[
            [float(value) for value in ap[:, present[label]]] if label in present else [None] * len(tious)
            for label in labels
        ],
        truth_per_class=[int(np.sum(truth_columns.labels == label)) for label in labels],
        thresholds=_thresholds(truth_columns, columns, evaluation, labels),
        counts=_counts(truth, predictions, origin, detection.count_ties(columns)),
        videos=[_video(video, truth.actions[video.id]) for video in truth.videos],
        recall_multiples=list(evaluation.recall_at),
        recall=_recall(truth_columns, columns, evaluation),
        proposals=proposal_recall(truth_columns, columns, tious, evaluation.average_recall_at)
        if evaluation.average_recall_at
        else None,
        classifier=origin.classifier,
        published=origin.published,
        error_bins=bins_for(evaluation.error_bins, dataset_name),
        uncertainty=bootstrap.uncertainty(truth_columns, columns, tious, times, protocol),
        ambiguous={
            video.id: [list(interval) for interval in video.ambiguous]
            for video in truth.videos
            if video.ambiguous and protocol.skips_ambiguous
        },
    )


def _thresholds(
    truth: TruthColumns, predictions: PredictionColumns, evaluation: EvaluationSettings, labels: Iterable[int]
) -> list[Threshold]:
    """The score threshold of best F1 of each class."""
    protocol, tiou = PROTOCOLS[evaluation.protocol], evaluation.threshold_tiou
    best = detection.best_f1_thresholds(truth, predictions, tiou, protocol)
    scores_and_f1 = (best.get(label, (None, 0.0)) for label in labels)
    return [Threshold(score=score, f1=f1) for score, f1 in scores_and_f1]


def _recall(
    truth: TruthColumns, predictions: PredictionColumns, evaluation: EvaluationSettings
) -> list[list[float | None]]:
    """Mean recall over classes, per multiple and tIoU."""
    multiples, tious = evaluation.recall_at, evaluation.tious
    if not multiples:
        return []
    recall = detection.recall_at(truth, predictions, tious, multiples, PROTOCOLS[evaluation.protocol]).mean(axis=2)
    return [[float(value) for value in row] for row in recall.T]


def validation_scores(
    annotations: Annotations, subset: str, predictions: Predictions, evaluation: EvaluationSettings
) -> dict[str, float]:
    """The average mAP of predictions on a subset, and that of each tIoU, for validation during training."""
    protocol = PROTOCOLS[evaluation.protocol]
    truth = truth_of(annotations, subset, protocol)
    truth_columns, columns = to_columns(truth, predictions, protocol)
    precision = detection.average_precision(truth_columns, columns, evaluation.tious, protocol)
    per_tiou = zip(evaluation.tious, precision.mean(axis=1), strict=True)
    return {"average_mAP": float(precision.mean()), **{f"mAP/{tiou:.2f}": float(value) for tiou, value in per_tiou}}


def within_annotated(truth: Truth, predictions: Predictions) -> Predictions:
    """The predictions without those whose larger part is outside the annotated time: nobody knows if they are right."""
    annotated = {video.id: video.annotated for video in truth.videos if video.annotated}
    return {
        video_id: [one for one in listed if not is_mostly_outside(annotated[video_id], one.start_s, one.end_s)]
        if video_id in annotated
        else listed
        for video_id, listed in predictions.items()
    }


def video_order(truth: Truth, predictions: Predictions) -> list[str]:
    """The videos of both sides in the order of their numbers in columns."""
    return sorted({*truth.actions, *predictions})


def to_columns(truth: Truth, predictions: Predictions, protocol: Protocol) -> tuple[TruthColumns, PredictionColumns]:
    """Both sides as numbers, without predictions outside the annotated time.

    Keeps predictions for videos outside the subset: they are wrong.
    """
    predictions = within_annotated(truth, predictions)
    number = {video_id: place for place, video_id in enumerate(video_order(truth, predictions))}
    return _truth_columns(truth, number), _prediction_columns(truth, predictions, protocol, number)


def _truth_columns(truth: Truth, number: dict[str, int]) -> TruthColumns:
    rows = [
        (number[video_id], action.start_s, action.end_s, truth.class_number[action.label])
        for video_id, actions in truth.actions.items()
        for action in actions
    ]
    ambiguous = [(number[video.id], *interval) for video in truth.videos for interval in video.ambiguous]
    videos, starts, ends, labels = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    unclear = np.array(ambiguous, dtype=np.float64).reshape(-1, 3).T
    intervals = Intervals(unclear[0].astype(np.int64), unclear[1], unclear[2])
    return TruthColumns(videos.astype(np.int64), starts, ends, labels.astype(np.int64), intervals)


def _prediction_columns(
    truth: Truth, predictions: Predictions, protocol: Protocol, number: dict[str, int]
) -> PredictionColumns:
    """Columns in the order that decides ties: fully sorted, so that the file's order does not matter, or by video only.

    Leaves out predictions whose label is not a class of the dataset.
    """
    class_number = truth.class_number
    rows = [
        (number[video_id], class_number[one.label], one.start_s, one.end_s, one.score)
        for video_id, listed in predictions.items()
        for one in listed
        if one.label in class_number
    ]
    rows = sorted(rows) if protocol.ties == "last_sorted" else sorted(rows, key=lambda row: row[0])
    videos, labels, starts, ends, scores = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return PredictionColumns(videos.astype(np.int64), starts, ends, labels.astype(np.int64), scores)


def _counts(truth: Truth, predictions: Predictions, origin: Origin, ties: int) -> Counts:
    known, classes, every = truth.actions, set(truth.classes), predictions
    predictions = within_annotated(truth, every)
    num_outside = sum(len(listed) - len(predictions[video_id]) for video_id, listed in every.items())
    unknown_videos = [video_id for video_id in predictions if video_id not in known]
    empty = [video.id for video in truth.videos if not predictions.get(video.id)]
    unknown_labels = sorted({one.label for found in predictions.values() for one in found} - classes)
    named = {UNKNOWN_VIDEOS: unknown_videos, UNKNOWN_LABELS: unknown_labels, TOO_LONG: list(origin.too_long)}
    return Counts(
        videos=len(truth.videos),
        truths=sum(len(actions) for actions in truth.actions.values()),
        predictions=sum(len(listed) for listed in predictions.values()),
        videos_without_predictions=empty,
        truths_missed_there=sum(len(truth.actions[video_id]) for video_id in empty),
        videos_without_features=list(origin.missing),
        predictions_of_unknown_videos=sum(len(predictions[video_id]) for video_id in unknown_videos),
        unknown_labels=sum(one.label not in classes for found in predictions.values() for one in found),
        ties=ties,
        duplicates_removed=sum(len(video.actions) - len(truth.actions[video.id]) for video in truth.videos),
        cut_videos=dict(origin.cut_videos),
        dropped={_OUTSIDE: num_outside} if num_outside else {},
        names={heading: names for heading, names in named.items() if names},
    )


def _video(video: AnnotatedVideo, actions: tuple[Action, ...]) -> Video:
    shown = [TrueAction(label=action.label, start_s=action.start_s, end_s=action.end_s) for action in actions]
    duration_s = video.duration_s or max((action.end_s for action in actions), default=0.0)
    return Video(
        id=video.id, duration_s=duration_s, truth=shown, annotated=[list(interval) for interval in video.annotated]
    )
