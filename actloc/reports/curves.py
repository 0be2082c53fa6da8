"""The part of a report about curves and thresholds: what its page, its tables and curves.csv show of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from actloc import console
from actloc.evaluation import operating_points as operating
from actloc.evaluation import precision_recall, scoring
from actloc.evaluation.columns import Floats
from actloc.evaluation.confusion import Confusion, confusion
from actloc.evaluation.matching import JUDGING, MATCH_TIOU
from actloc.evaluation.operating_points import Bin, Point
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.rescoring import truth_of
from actloc.evaluation.results import Results

MOST_TIOUS = 5
"""tIoUs whose curves are drawn: of more, the first, the last and some between them."""
_STEPS = 100
_SAME = 1e-9


@dataclass(frozen=True)
class ClassPoints:
    """The predictions of a class, or of all (label empty), at each threshold of the axis; and at its best F1."""

    label: str
    points: list[Point]
    best: Point | None
    """None if nothing is right at any threshold."""


@dataclass(frozen=True)
class Curves:
    """Everything measured from the files of one evaluation; lists by class are over the classes with true actions."""

    results: Results
    labels: list[str]
    num_actions: list[int]
    tious: list[float]
    by_class: list[list[Floats]]
    """Per tIoU and class, precision at equal steps of recall."""
    means: list[Floats]
    """Per tIoU, the mean over classes (100,)."""
    threshold_tiou: float
    all_points: ClassPoints
    class_points: list[ClassPoints]
    bins: list[Bin]
    calibration_error: float | None
    confusion: Confusion
    differs: bool
    """Whether the areas are not the AP in the results."""

    @property
    def chosen(self) -> int:
        """The tIoU that a page shows first: 0.5, or else the first."""
        return next((place for place, tiou in enumerate(self.tious) if abs(tiou - MATCH_TIOU) < _SAME), 0)

    @property
    def measured_on(self) -> str:
        """The data that thresholds were chosen on."""
        counts = self.results.counts
        videos, actions = console.count(counts.videos, "video"), console.count(counts.truths, "action")
        return f"{videos} of {self.results.subset} with {actions}"


def curves_of(results: Results, predictions: Predictions) -> Curves | None:
    """Measures curves by the protocol of the results; None without true actions, or if the protocol is unknown."""
    protocol = next((one for name, one in PROTOCOLS.items() if name == results.protocol), None)
    truth = truth_of(results)
    known = set(truth.classes)
    truth = replace(
        truth, actions={key: tuple(one for one in found if one.label in known) for key, found in truth.actions.items()}
    )
    if protocol is None or not any(truth.actions.values()):
        return None
    columns, predicted = scoring.to_columns(truth, predictions, protocol)
    threshold_tiou = _threshold_tiou(results)
    pairing = Pairing(columns, predicted, min(*results.tious, MATCH_TIOU, threshold_tiou), protocol)
    drawn = _drawn(results.tious)
    every = [precision_recall.precisions(pairing, tiou) for tiou in drawn]
    judged = pairing.judged(threshold_tiou)
    everything = operating.pooled(judged)
    low, high = operating.score_range(everything[1])
    axis = [low + (high - low) * place / _STEPS for place in range(_STEPS + 1)]
    labels = [results.classes[int(number)] for number in columns.classes]
    num_actions = [int(number) for number in pairing.truth_counts]
    bins = operating.reliability(operating.pooled(pairing.judged(MATCH_TIOU)))
    scores = results.score_thresholds().values()
    return Curves(
        results=results,
        labels=labels,
        num_actions=num_actions,
        tious=drawn,
        by_class=[[precision_recall.thinned(curve) for curve in curves] for curves in every],
        means=[precision_recall.mean_curve(curves) for curves in every],
        threshold_tiou=threshold_tiou,
        all_points=_points("", everything, axis, sum(num_actions)),
        class_points=[
            _points(label, one, axis, number) for label, one, number in zip(labels, judged, num_actions, strict=True)
        ],
        bins=bins,
        calibration_error=operating.calibration_error(bins),
        confusion=confusion(
            *scoring.to_columns(truth, predictions, JUDGING),
            np.array([np.nan if value is None else value for value in scores]),
        ),
        differs=_differs(results, labels, drawn, every),
    )


def _threshold_tiou(results: Results) -> float:
    value = results.settings.get("evaluation.threshold_tiou", MATCH_TIOU)
    return float(value) if isinstance(value, int | float) else MATCH_TIOU


def _drawn(tious: Sequence[float]) -> list[float]:
    places = np.unique(np.linspace(0, len(tious) - 1, MOST_TIOUS).round().astype(int))
    return [tious[place] for place in places]


def _points(label: str, judged: operating.Judged, axis: list[float], num_truths: int) -> ClassPoints:
    return ClassPoints(label, operating.points(judged, axis, num_truths), operating.best_point(judged, num_truths))


def _differs(results: Results, labels: list[str], drawn: list[float], every: list[list[Floats]]) -> bool:
    reported = dict(zip(results.classes, results.class_ap, strict=True))
    for tiou, curves in zip(drawn, every, strict=True):
        place = results.tious.index(tiou)
        for label, curve in zip(labels, curves, strict=True):
            value = reported[label][place]
            if value is None or abs(value - float(curve.mean())) > _SAME:
                return True
    return False
