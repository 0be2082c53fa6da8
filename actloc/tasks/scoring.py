"""Scores detections against a subset's annotations and says where the numbers come from."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import actloc
from actloc import annotations as annotation_form
from actloc import files, provenance
from actloc.annotations import Action, AnnotatedVideo, Annotations
from actloc.evaluation import detection
from actloc.evaluation.detection import GroundTruth
from actloc.experiment import Experiment
from actloc.reports.results import Counts, Prediction, Predictions, Results, Threshold, TrueAction, Video
from actloc.tasks.localization import VideoDetections

PROTOCOL = "actionformer"
"""Repeated truth is dropped, AP is the area under the monotone curve, of equal scores the later row goes first."""


def results_folder(experiment: Experiment) -> Path:
    """Where `eval` writes: one folder per subset, and others for raw weights and for the best checkpoint."""
    name = files.safe_name(experiment.dataset.evaluation_subset)
    name += "-raw" if experiment.evaluation.weights == "raw" else ""
    name += "-best" if experiment.evaluation.checkpoint == "best" else ""
    return experiment.run_folder / "eval" / name


def to_predictions(found: Sequence[VideoDetections], classes: Sequence[str]) -> Predictions:
    """Detections with class names, videos by id, each video's by falling score."""
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
    """The shortest decimal that names this float32: 1.2, not 1.2000000476837158; and 0.0, not -0.0."""
    return float(str(value)) + 0.0


@dataclass(frozen=True)
class Truth:
    """A subset's videos and the actions that count."""

    videos: list[AnnotatedVideo]
    actions: dict[str, tuple[Action, ...]]
    classes: tuple[str, ...]

    @property
    def video_number(self) -> dict[str, int]:
        """Row of each video."""
        return {video.id: number for number, video in enumerate(self.videos)}

    @property
    def class_number(self) -> dict[str, int]:
        """Number of each class."""
        return {name: number for number, name in enumerate(self.classes)}


def truth_of(annotations: Annotations, subset: str) -> Truth:
    """The subset's truth without repeats and actions under 1 ms."""
    videos = annotations.of_subset(subset)
    actions = {video.id: annotation_form.without_duplicates(video.actions) for video in videos}
    return Truth(videos, actions, annotations.classes)


def score(
    experiment: Experiment, truth: Truth, subset: str, predictions: Predictions, *, checkpoint: str, missing: list[str]
) -> Results:
    """Everything `eval` measures. `missing` names videos without features: their truth counts as missed."""
    tious = experiment.evaluation.tious
    arrays, rows = _truth_arrays(truth), _prediction_rows(truth, predictions)
    ap = detection.average_precision(arrays, rows, tious)
    present = {int(label): column for column, label in enumerate(arrays.classes)}
    thresholds = detection.best_f1_thresholds(arrays, rows, experiment.evaluation.threshold_tiou)
    means = ap.mean(axis=1)
    labels = range(len(truth.classes))
    return Results(
        name=experiment.run.name,
        dataset=experiment.dataset.name,
        subset=subset,
        protocol=PROTOCOL,
        seed=experiment.run.seed,
        checkpoint=checkpoint,
        weights=experiment.evaluation.weights,
        commit=provenance.commit(),
        machine=provenance.machine(),
        version=actloc.__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%S"),
        tious=list(tious),
        mean_ap=[float(value) for value in means],
        average_map=float(means.mean()),
        classes=list(truth.classes),
        class_ap=[
            [float(value) for value in ap[:, present[label]]] if label in present else [None] * len(tious)
            for label in labels
        ],
        truth_per_class=[int(np.sum(arrays.labels == label)) for label in labels],
        thresholds=[
            Threshold(score=thresholds[label][0], f1=thresholds[label][1])
            if label in thresholds
            else Threshold(score=None, f1=0.0)
            for label in labels
        ],
        counts=_counts(truth, predictions, missing),
        videos=[_video(video, truth.actions[video.id]) for video in truth.videos],
    )


def average_map(experiment: Experiment) -> Callable[[Annotations, str, list[VideoDetections]], float]:
    """The average mAP of detections on a subset, for validation while training."""

    def measure(annotations: Annotations, subset: str, found: list[VideoDetections]) -> float:
        truth = truth_of(annotations, subset)
        rows = _prediction_rows(truth, to_predictions(found, annotations.classes))
        return float(detection.average_precision(_truth_arrays(truth), rows, experiment.evaluation.tious).mean())

    return measure


def _truth_arrays(truth: Truth) -> GroundTruth:
    number, class_number = truth.video_number, truth.class_number
    rows = [
        (number[video_id], action.start_s, action.end_s, class_number[action.label])
        for video_id, actions in truth.actions.items()
        for action in actions
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return GroundTruth(columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2], columns[:, 3].astype(np.int64))


def _prediction_rows(truth: Truth, predictions: Predictions) -> detection.Predictions:
    """Rows sorted by video, class, start and end, so that the order of a file changes nothing (R20)."""
    number, class_number = truth.video_number, truth.class_number
    rows = [
        (number[video_id], class_number[one.label], one.start_s, one.end_s, one.score)
        for video_id, listed in predictions.items()
        for one in listed
        if video_id in number and one.label in class_number
    ]
    columns = np.array(sorted(rows), dtype=np.float64).reshape(-1, 5)
    labels = columns[:, 1].astype(np.int64)
    videos = columns[:, 0].astype(np.int64)
    return detection.Predictions(videos, columns[:, 2], columns[:, 3], labels, columns[:, 4])


def _counts(truth: Truth, predictions: Predictions, missing: list[str]) -> Counts:
    known, classes = truth.video_number, set(truth.classes)
    unknown_videos = [video_id for video_id in predictions if video_id not in known]
    empty = [video.id for video in truth.videos if not predictions.get(video.id)]
    return Counts(
        videos=len(truth.videos),
        truths=sum(len(actions) for actions in truth.actions.values()),
        predictions=sum(len(listed) for listed in predictions.values()),
        videos_without_predictions=empty,
        truths_missed_there=sum(len(truth.actions[video_id]) for video_id in empty),
        videos_without_features=missing,
        predictions_of_unknown_videos=sum(len(predictions[video_id]) for video_id in unknown_videos),
        unknown_labels=sum(one.label not in classes for listed in predictions.values() for one in listed),
        duplicates_removed=sum(len(video.actions) - len(truth.actions[video.id]) for video in truth.videos),
        names={"videos of unknown predictions": unknown_videos} if unknown_videos else {},
    )


def _video(video: AnnotatedVideo, actions: tuple[Action, ...]) -> Video:
    shown = [TrueAction(label=action.label, start_s=action.start_s, end_s=action.end_s) for action in actions]
    duration_s = video.duration_s or max((action.end_s for action in actions), default=0.0)
    return Video(id=video.id, duration_s=duration_s, truth=shown)
