"""Lays out the figures of curves and thresholds; curves.html.jinja draws them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from actloc.evaluation.columns import Floats
from actloc.evaluation.matching import MATCH_TIOU
from actloc.reports import plots
from actloc.reports.cells import Table
from actloc.reports.curve_tables import (
    ALL,
    LARGEST_MATRIX,
    best_table,
    calibration_table,
    confusion_table,
    threshold_table,
)
from actloc.reports.curves import ClassPoints, Curves
from actloc.reports.plots import Line

MOST_SMALL = 24
"""Classes that have a curve of their own; of more, the best and the worst."""
_BEST_AND_WORST = 10


@dataclass(frozen=True)
class SmallCurve:
    """The curve of one class; its filled area is its AP."""

    label: str
    num_actions: int
    ap: float
    path: str


@dataclass(frozen=True)
class Rank:
    """A class and its average AP over the tIoUs drawn."""

    label: str
    num_actions: int
    ap: float


@dataclass(frozen=True)
class AtTiou:
    """What is shown where a tIoU is chosen."""

    tiou: float
    classes: list[SmallCurve]
    lines: list[Line]


@dataclass(frozen=True)
class Choice:
    """A class in the list above the slider: its counts at each threshold, as JSON."""

    label: str
    kept: str
    right: str
    num_truths: int


@dataclass(frozen=True)
class CurvesView:
    """What the page shows of one run."""

    tious: list[float]
    chosen: int
    means: list[Line]
    at: list[AtTiou]
    num_left_out: int
    bars: list[Rank]
    """Classes by average AP, best first."""
    has_matrix: bool
    confusion: Table
    calibration: Table
    bins: list[tuple[float, float]]
    """The place of each bin in the drawing; empty if scores are no probabilities."""
    by_threshold: list[Line]
    thresholds: Table
    best: Table
    choices: list[Choice]
    axis: str
    axis_ends: tuple[float, float]
    start: int
    """The step of the axis that the slider starts at."""
    threshold_tiou: float
    measured_on: str
    differs: bool


def view(curves: Curves) -> CurvesView:
    """The figures and tables of one run."""
    points = curves.all_points.points
    means = [fmean(curve[place].mean() for curve in curves.by_class) for place in range(len(curves.labels))]
    order = sorted(range(len(means)), key=lambda place: -means[place])
    drawn = order if len(order) <= MOST_SMALL else [*order[:_BEST_AND_WORST], *order[-_BEST_AND_WORST:]]
    lowest, highest = points[0].threshold, points[-1].threshold
    best = curves.all_points.best
    share = 0.5 if best is None else (best.threshold - lowest) / (highest - lowest)
    return CurvesView(
        tious=curves.tious,
        chosen=curves.chosen,
        means=[
            plots.curve_line(f"tIoU {tiou:.2f}", curve, number)
            for number, (tiou, curve) in enumerate(zip(curves.tious, curves.means, strict=True))
        ],
        at=[
            AtTiou(tiou, [_small(curves, by_class[place], place) for place in drawn], [])
            for tiou, by_class in zip(curves.tious, curves.by_class, strict=True)
        ],
        num_left_out=len(order) - len(drawn),
        bars=[Rank(curves.labels[place], curves.num_actions[place], means[place]) for place in order],
        has_matrix=len(curves.results.classes) <= LARGEST_MATRIX,
        confusion=confusion_table(curves),
        calibration=calibration_table(curves),
        bins=_bins(curves),
        by_threshold=[
            plots.line("precision", [point.precision for point in points], 0),
            plots.line("recall", [point.recall for point in points], 1),
            plots.line("F1", [point.f1 for point in points], 2),
        ],
        thresholds=threshold_table(curves),
        best=best_table(curves),
        choices=[_choice(one) for one in (curves.all_points, *curves.class_points)],
        axis=json.dumps([float(f"{point.threshold:.6g}") for point in points]),
        axis_ends=(lowest, highest),
        start=min(max(round(share * (len(points) - 1)), 0), len(points) - 1),
        threshold_tiou=curves.threshold_tiou,
        measured_on=curves.measured_on,
        differs=curves.differs,
    )


def compared(curves: Sequence[Curves | None], names: Sequence[str]) -> list[AtTiou]:
    """The mean curves of several runs over each other, at each tIoU that at least two have drawn."""
    found = []
    for tiou in sorted({round(tiou, 4) for one in curves if one is not None for tiou in one.tious}):
        lines = []
        for number, (one, name) in enumerate(zip(curves, names, strict=True)):
            places = [] if one is None else [place for place, other in enumerate(one.tious) if round(other, 4) == tiou]
            if one is not None and places:
                lines.append(plots.curve_line(name, one.means[places[0]], number))
        if len(lines) > 1:
            found.append(AtTiou(tiou, [], lines))
    return found


def first_chosen(at: Sequence[AtTiou]) -> int:
    """The place of tIoU 0.5, or else 0."""
    return next((place for place, one in enumerate(at) if abs(one.tiou - MATCH_TIOU) < 1e-9), 0)


def _small(curves: Curves, curve: Floats, place: int) -> SmallCurve:
    return SmallCurve(curves.labels[place], curves.num_actions[place], float(curve.mean()), plots.small_path(curve))


def _bins(curves: Curves) -> list[tuple[float, float]]:
    if curves.calibration_error is None:
        return []
    return [plots.in_box(one.mean_score, one.share_right) for one in curves.bins]


def _choice(one: ClassPoints) -> Choice:
    counts = ([point.kept for point in one.points], [point.right for point in one.points])
    kept, right = (json.dumps(numbers, separators=(",", ":")) for numbers in counts)
    return Choice(one.label or ALL, kept, right, one.points[0].num_truths)
