"""Tables of thresholds, calibration and confusion for pages and Markdown, and curves.csv."""

import csv
import io
from collections.abc import Iterator, Sequence

from actloc.evaluation.matching import MATCH_TIOU
from actloc.evaluation.operating_points import Point
from actloc.reports.cells import Cell, Table
from actloc.reports.curves import ClassPoints, Curves
from actloc.reports.text import UNMEASURED, csv_cell, percent, score, threshold

MOST_CONFUSIONS = 20
LARGEST_MATRIX = 12
"""Classes of a confusion table that fits on a page."""
MISSED, BACKGROUND, REPEATED, ALL = "missed", "background", "repeated", "all classes"
_COLUMNS = (
    *("run", "subset", "curve", "tIoU", "class", "score", "recall", "precision", "F1", "predictions", "right"),
    "predicted as",
)
_POINT_COLUMNS = ["score", "precision", "recall", "F1", "predictions", "right"]


def curve_tables(curves: Curves) -> list[Table]:
    """What tables.md and the page have as tables."""
    return [confusion_table(curves), calibration_table(curves), threshold_table(curves), best_table(curves)]


def threshold_table(curves: Curves) -> Table:
    """All classes at nine thresholds: 0.1 to 0.9 where scores are from 0 to 1."""
    return Table(
        title="Precision, recall and F1 in percent by score threshold",
        columns=_POINT_COLUMNS,
        num_names=1,
        rows=[_point_cells(point) for point in curves.all_points.points[10:100:10]],
        caption=[f"All classes together, at tIoU {threshold(curves.threshold_tiou)}."],
    )


def best_table(curves: Curves) -> Table:
    """The best-F1 thresholds: one for all classes, then one per class, most F1 first."""
    classes = sorted(curves.class_points, key=lambda one: -1.0 if one.best is None else one.best.f1, reverse=True)
    return Table(
        title="Score thresholds of best F1",
        columns=["class", *_POINT_COLUMNS],
        num_names=1,
        rows=[_best_cells(one) for one in (curves.all_points, *classes)],
        caption=[
            f"Chosen at tIoU {threshold(curves.threshold_tiou)} on {curves.measured_on}. These are the videos that are "
            "scored here, so the F1 is optimistic: expect less on other videos."
        ],
    )


def _best_cells(one: ClassPoints) -> list[Cell]:
    numbers = [Cell(UNMEASURED)] * len(_POINT_COLUMNS) if one.best is None else _point_cells(one.best)
    return [Cell(one.label or ALL), *numbers]


def _point_cells(point: Point) -> list[Cell]:
    shares = [percent(value) for value in (point.precision, point.recall, point.f1)]
    return [Cell(text) for text in (score(point.threshold), *shares, str(point.kept), str(point.right))]


def calibration_table(curves: Curves) -> Table:
    """How often predictions of each range of scores are right."""
    error = curves.calibration_error
    text = f"{error:.4f}" if error is not None else "not measured, because scores are not between 0 and 1"
    return Table(
        title=f"Calibration: scores and the share right at tIoU {threshold(MATCH_TIOU)}",
        columns=["scores", "mean score", "right (%)", "predictions", "right"],
        num_names=1,
        rows=[
            [
                Cell(f"{one.lowest:.3g} to {one.highest:.3g}"),  # bins of low scores differ in the third digit
                *(Cell(text) for text in (f"{one.mean_score:.3g}", percent(one.share_right))),
                *(Cell(str(number)) for number in (one.count, one.right)),
            ]
            for one in curves.bins
        ],
        caption=[
            f"Expected calibration error: {text}. Bins have equal numbers of predictions; equal scores share a bin.",
            f"Measured on {curves.measured_on}; all predictions of its classes, also those of low scores.",
        ],
    )


def confusion_table(curves: Curves) -> Table:
    """A matrix of few classes; of many, the pairs that are confused most."""
    return _matrix(curves) if len(curves.results.classes) <= LARGEST_MATRIX else _most_confused(curves)


def _matrix(curves: Curves) -> Table:
    found, classes = curves.confusion, curves.results.classes
    rows = [
        [Cell(f"{number + 1} {label}"), *_marked(found.pairs[number], number), Cell(str(found.missed[number]))]
        for number, label in enumerate(classes)
    ]
    for name, counts in ((BACKGROUND, found.background), (REPEATED, found.repeated)):
        rows.append([Cell(name), *(Cell(str(count)) for count in counts), Cell(UNMEASURED)])
    return Table(
        title="Confusion between classes",
        columns=["true class", *(str(number) for number in range(1, len(classes) + 1)), MISSED],
        num_names=1,
        rows=rows,
        caption=["Columns are the classes predicted, by number."],
    )


def _marked(counts: Sequence[int], right: int) -> list[Cell]:
    return [Cell(str(count), place == right) for place, count in enumerate(counts)]


def _most_confused(curves: Curves) -> Table:
    found, classes = curves.confusion, curves.results.classes
    predicted = found.pairs.sum(axis=0) + found.background + found.repeated
    pairs = found.most_confused(MOST_CONFUSIONS)
    totals = ("right", found.pairs.trace()), (REPEATED, found.repeated.sum()), (BACKGROUND, found.background.sum())
    return Table(
        title="Confusion between classes: the most frequent",
        columns=["true class", "predicted as", "predictions", "share of these predicted (%)"],
        num_names=2,
        rows=[
            [Cell(classes[true]), Cell(classes[taken]), Cell(str(count)), Cell(percent(count / predicted[taken]))]
            for true, taken, count in pairs
        ],
        caption=[
            f"Of {predicted.sum()} predictions that count: {', '.join(f'{name} {number}' for name, number in totals)}, "
            f"confused {found.pairs.sum() - found.pairs.trace()}. True actions missed: {found.missed.sum()}."
        ],
    )


def curves_csv(named: Sequence[tuple[str, Curves]]) -> str:
    """curves.csv: a row for each point of each curve, as proportions from 0 to 1; empty cells are not measured."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for name, curves in named:
        for row in _rows(curves):
            values = {"run": name, "subset": curves.results.subset, **row}
            writer.writerow([csv_cell(_text(values.get(column))) for column in _COLUMNS])
    return stream.getvalue()


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _rows(curves: Curves) -> Iterator[dict[str, object]]:
    for tiou, mean, by_class in zip(curves.tious, curves.means, curves.by_class, strict=True):
        for label, curve in (("", mean), *zip(curves.labels, by_class, strict=True)):
            for place, value in enumerate(curve, start=1):
                if place == len(curve) or curve[place] != value:
                    yield {
                        "curve": "precision and recall", "tIoU": tiou, "class": label,
                        "recall": place / len(curve), "precision": float(value),
                    }  # fmt: skip
    for point in curves.all_points.points:
        yield {"curve": "score threshold", "tIoU": curves.threshold_tiou, **_point_row(point)}
    for one in (curves.all_points, *curves.class_points):
        if one.best is not None:
            row = {"curve": "best F1", "tIoU": curves.threshold_tiou, "class": one.label}
            yield {**row, **_point_row(one.best)}
    for bin_ in curves.bins:
        yield {
            "curve": "calibration", "tIoU": MATCH_TIOU, "score": bin_.mean_score, "precision": bin_.share_right,
            "predictions": bin_.count, "right": bin_.right,
        }  # fmt: skip
    yield from _confusion_rows(curves)


def _point_row(point: Point) -> dict[str, object]:
    return {
        "score": point.threshold, "recall": point.recall, "precision": point.precision, "F1": point.f1,
        "predictions": point.kept, "right": point.right,
    }  # fmt: skip


def _confusion_rows(curves: Curves) -> Iterator[dict[str, object]]:
    found, classes = curves.confusion, curves.results.classes
    cells = [
        (label, other, found.pairs[row, column])
        for row, label in enumerate(classes)
        for column, other in enumerate(classes)
    ]
    for name, counts in ((BACKGROUND, found.background), (REPEATED, found.repeated)):
        cells += [(name, label, count) for label, count in zip(classes, counts, strict=True)]
    cells += [(label, MISSED, count) for label, count in zip(classes, found.missed, strict=True)]
    for label, other, count in cells:
        if count:
            yield {
                "curve": "confusion", "tIoU": MATCH_TIOU, "class": label, "predicted as": other,
                "predictions": int(count),
            }  # fmt: skip
