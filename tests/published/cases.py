"""Published prediction files as our annotations and predictions, beside the figures published for them.

The rules of each file are those of `data/README.md` of the shared data; a protocol of ours stands for each.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation.columns import Floats
from actloc.evaluation.detection import average_precision
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.scoring import to_columns, truth_of
from actloc.settings.choices import ProtocolName
from tests.published import matlab, scnn

DATA = Path(os.environ.get("ACTLOC_DATA", "/work/shared/data"))
SUBSET = "test"
LOW_TIOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
HIGH_TIOUS = tuple(round(0.5 + 0.05 * place, 2) for place in range(10))
# the classes of THUMOS14 among the 101 of UCF101, in alphabetical order
THUMOS_NUMBERS = (7, 9, 12, 21, 22, 23, 24, 26, 31, 33, 36, 40, 45, 51, 68, 79, 85, 92, 93, 97)

Spans = Iterable[tuple[str, float, float]]
"""Video, start and end in seconds."""


@dataclass(frozen=True)
class Case:
    """One published result: what was predicted, at which tIoUs, by which rules, and its published mAP in percent."""

    name: str
    protocol: ProtocolName
    annotations: Annotations
    predictions: list[Predictions]
    """One for all tIoUs, or one for each."""
    tious: tuple[float, ...]
    published: tuple[float, ...]
    published_average: float | None = None

    def class_ap(self) -> Floats:
        """(tIoUs, classes): ours."""
        protocol = PROTOCOLS[self.protocol]
        truth = truth_of(self.annotations, SUBSET, protocol)
        if len(self.predictions) == 1:
            return average_precision(*to_columns(truth, self.predictions[0], protocol), self.tious, protocol)
        pairs = zip(self.predictions, self.tious, strict=True)
        return np.concatenate(
            [average_precision(*to_columns(truth, found, protocol), [tiou], protocol) for found, tiou in pairs]
        )


def annotated(classes: Iterable[str], actions: dict[str, Spans], ambiguous: Spans = ()) -> Annotations:
    """Annotations of one subset from the actions of each class, each class's in its file's order."""
    by_video: dict[str, list[Action]] = {}
    unclear: dict[str, list[tuple[float, float]]] = {}
    for label, spans in actions.items():
        for video, start, end in spans:
            by_video.setdefault(video, []).append(Action(start, end, label))
    for video, start, end in ambiguous:
        unclear.setdefault(video, []).append((start, end))
    videos = {
        video: AnnotatedVideo(video, SUBSET, tuple(by_video.get(video, ())), ambiguous=tuple(unclear.get(video, ())))
        for video in sorted({*by_video, *unclear})
    }
    return Annotations(tuple(classes), videos, keeps_past_end=True)


def thumos_classes(data: Path = DATA) -> list[str]:
    """The 20 names, in alphabetical order."""
    listed = (data / "thumos14/official_txt/annotation_test/detclasslist.txt").read_text().split()
    return listed[1::2]


def thumos_truth(data: Path = DATA) -> Annotations:
    """The official test annotations with their Ambiguous intervals."""

    def spans(name: str) -> Spans:
        lines = (data / f"thumos14/official_txt/annotation_test/{name}_test.txt").read_text().splitlines()
        return [(video, float(start), float(end)) for video, start, end in (line.split() for line in lines if line)]

    classes = thumos_classes(data)
    return annotated(classes, {name: spans(name) for name in classes}, spans("Ambiguous"))


def scnn_thumos14(data: Path = DATA) -> Case:
    """S-CNN's own windows, weighted and suppressed as its code did."""
    folder = data / "predictions/scnn_thumos14"
    windows = matlab.read(folder / "network_localization/result/res_seg_swin.mat")["seg_swin"][:, scnn.COLUMNS]
    weights = matlab.read(folder / "window_weight/weight.mat")["weight"]
    return scnn_case(windows, weights, thumos_truth(data))


def scnn_case(windows: Floats, weights: Floats, truth: Annotations) -> Case:
    """The same from arrays."""
    found = [scnn.detections(windows, weights, list(truth.classes), tiou) for tiou in LOW_TIOUS]
    published = (47.7186, 43.5345, 36.2761, 28.7022, 18.9701)
    return Case("S-CNN, THUMOS14", "thumos", truth, found, LOW_TIOUS, published)


def scnn_class_ap(data: Path = DATA) -> Floats:
    """(5, 20): the APs that MATLAB stored."""
    stored = matlab.read(data / "predictions/scnn_thumos14/eval/res_scnn_thumos14.mat")["AP_all"]
    return np.concatenate(stored)


def turn_thumos14(data: Path = DATA) -> Case:
    """TURN proposals classified by S-CNN."""
    published = (54.04, 50.93, 44.13, 34.88, 25.56)
    return Case("TURN, THUMOS14", "thumos", thumos_truth(data), _turn_files(data), LOW_TIOUS, published)


def turn_without_ambiguous(data: Path = DATA) -> Case:
    """The same, scored as if nothing were ambiguous."""
    published = (52.65, 49.63, 43.29, 34.23, 25.00)
    return Case(
        "TURN, no Ambiguous rule",
        "thumos_without_ambiguous",
        thumos_truth(data),
        _turn_files(data),
        LOW_TIOUS,
        published,
    )


def _turn_files(data: Path) -> list[Predictions]:
    names = dict(zip(THUMOS_NUMBERS, thumos_classes(data), strict=True))
    folder = data / "predictions/turn_tap_thumos14"
    found = []
    for tiou in LOW_TIOUS:
        by_video: Predictions = {}
        for line in (folder / f"TURN-FLOW-16_SCNN_thumos14_iou{tiou}.txt").read_text().splitlines():
            video, start, end, number, score = line.split()
            by_video.setdefault(video, []).append(
                Prediction(names[int(number)], float(score), float(start), float(end))
            )
        found.append(by_video)
    return found


def activitynet_truth(data: Path = DATA) -> Annotations:
    """The validation subset of ActivityNet-1.3, rows as they stand in TSP's file."""
    actions: dict[str, list[tuple[str, float, float]]] = {}
    with (data / "activitynet13/activitynet_v1-3_valid_tsp_groundtruth.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["temporal-region-label"] == "Action":
                span = (row["video-name"], float(row["t-start"]), float(row["t-end"]))
                actions.setdefault(row["action-label"], []).append(span)
    return annotated(sorted(actions), dict(actions))


def activitynet_sample(data: Path = DATA) -> Case:
    """The sample of the official evaluator: the truth with score 1."""
    content = json.loads((data / "predictions/activitynet/sample_detection_prediction.json").read_text())
    found = {
        video: [Prediction(one["label"], one["score"], *one["segment"]) for one in listed]
        for video, listed in content["results"].items()
    }
    published = (100.0,) * 10
    return Case("ActivityNet's sample", "activitynet", activitynet_truth(data), [found], HIGH_TIOUS, published, 100.0)


def moment_detr(data: Path = DATA) -> Case:
    """Moment-DETR on QVHighlights: each query is a class."""
    folder = data / "predictions/qvhighlights"
    truth: dict[str, Spans] = {
        str(query["qid"]): [(query["vid"], *map(float, window)) for window in query["relevant_windows"]]
        for query in _json_lines(folder / "data/highlight_val_release.jsonl")
    }
    found: Predictions = {}
    for query in _json_lines(folder / "standalone_eval/sample_val_preds.jsonl"):
        listed = found.setdefault(query["vid"], [])
        listed += [
            Prediction(str(query["qid"]), score, start, end) for start, end, score in query["pred_relevant_windows"]
        ]
    published = (54.96, 49.88, 46.62, 40.20, 35.49, 31.01, 24.79, 18.72, 13.21, 7.16)
    return Case(
        "Moment-DETR, QVHighlights", "qvhighlights", annotated(truth, truth), [found], HIGH_TIOUS, published, 32.20
    )


def _json_lines(path: Path) -> list[dict]:  # type: ignore[type-arg]  # whatever was published
    return [json.loads(line) for line in path.read_text().splitlines()]


CASES: list[Callable[[Path], Case]] = [
    scnn_thumos14,
    turn_thumos14,
    turn_without_ambiguous,
    activitynet_sample,
    moment_detr,
]
