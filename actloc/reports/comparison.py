"""What changed from one run to another: mAP with a paired bootstrap, classes, and videos.

Every run is compared with the first. Both are scored on the same draws of videos, so that what makes a draw easy or
hard for both does not hide their difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actloc import console
from actloc.evaluation import bootstrap
from actloc.evaluation.columns import Floats
from actloc.evaluation.matching import MATCH_TIOU, Judgement, worst_first
from actloc.evaluation.rescoring import drawn_maps, hindrance
from actloc.evaluation.results import Results
from actloc.reports.cells import Cell, Table, by_tiou, mean
from actloc.reports.map_rows import INTERVAL
from actloc.reports.runs import Evaluation
from actloc.reports.tables import are_comparable
from actloc.reports.text import UNMEASURED, percent, threshold

_MOST_ROWS = 200
"""Classes or videos of a table; the others are counted."""


@dataclass(frozen=True)
class Pair:
    """The first run and another one."""

    first: Evaluation
    other: Evaluation
    tious: list[float]
    """Those that both have."""
    hindrance: str
    """Why they cannot be compared; empty if they can."""
    drawn: Floats | None = None
    """The change of mAP at each tIoU and of the average (tIoUs + 1, draws); None where it cannot be measured."""
    undrawn: str = ""
    """Why it cannot."""

    def overall(self, names: tuple[str, str]) -> Table:
        """mAP of both, the change, its interval, and the share of draws in which the other run is better."""
        values = [_with_average(one.results, self.tious) for one in (self.first, self.other)]
        differences = [
            None if before is None or after is None else after - before for before, after in zip(*values, strict=True)
        ]
        return Table(
            title=f"mAP in percent: {names[1]} against {names[0]}",
            columns=["", *map(threshold, self.tious), "average"],
            num_names=1,
            rows=[
                [Cell(names[0]), *(Cell(percent(value)) for value in values[0])],
                [Cell(names[1]), *(Cell(percent(value)) for value in values[1])],
                [Cell("change"), *(Cell(_signed(value)) for value in differences)],
                [Cell(INTERVAL), *map(Cell, _intervals(self.drawn, len(differences)))],
                [Cell("better in draws (%)"), *map(Cell, _shares(self.drawn, len(differences)))],
            ],
            caption=self._caption(names),
        )

    def _caption(self, names: tuple[str, str]) -> list[str]:
        both = (self.first.results, self.other.results)
        lines = [f"Change: {names[1]} minus {names[0]}, in percentage points."]
        if self.drawn is None:
            lines.append(f"There is no interval: {self.undrawn}.")
        else:
            how = f"{console.count(self.drawn.shape[1], 'draw')} with seed {bootstrap.SEED}, the same for both runs"
            lines.append(f"{INTERVAL} of the change: paired percentile bootstrap over videos, {how}.")
        if any(len(run.tious) != len(self.tious) for run in both):
            lines.append(f"Over the tIoUs that both have: {', '.join(map(threshold, self.tious))}.")
        return lines + [
            f"{name} was trained on videos that are scored, so the change says little."
            for name, run in zip(names, both, strict=True)
            if run.is_measured_on_training_videos()
        ]

    def details(self, names: tuple[str, str]) -> list[Table]:
        """The classes and the videos that changed."""
        return [_classes(self, names), _videos(self.first, self.other, names)]


def pairs_with_first(evaluations: Sequence[Evaluation]) -> list[Pair]:
    """The first run with each of the others, in their order."""
    return [_pair(evaluations[0], other) for other in evaluations[1:]]


def _pair(first: Evaluation, other: Evaluation) -> Pair:
    runs = first.results, other.results
    at = [by_tiou(run.tious, run.mean_ap) for run in runs]
    tious = sorted(tiou for tiou in at[0] if tiou in at[1])
    if not are_comparable(runs):
        return Pair(first, other, tious, "they differ in data, protocol or use of true classes")
    if not tious:
        return Pair(first, other, tious, "they have no tIoU in common")
    undrawn = "the subset has one video, and no other can be drawn" if len(runs[0].videos) < 2 else ""
    for one in (first, other):
        reason = undrawn or hindrance(one.results, one.predictions)
        if reason:
            return Pair(first, other, tious, "", None, reason)
    return Pair(first, other, tious, "", _drawn(other, tious) - _drawn(first, tious))


def _with_average(run: Results, tious: Sequence[float]) -> list[float | None]:
    """mAP at the tIoUs, then their average."""
    at = by_tiou(run.tious, run.mean_ap)
    chosen = [at[tiou] for tiou in tious]
    return [*chosen, None if None in chosen else mean(chosen)]


def _drawn(one: Evaluation, tious: Sequence[float]) -> Floats:
    """mAP at the tIoUs, then their average (tIoUs + 1, draws)."""
    own = [tiou for tiou in one.results.tious if round(tiou, 4) in tious]
    maps = drawn_maps(one.results, one.predictions, sorted(own))
    return np.vstack([maps, maps.mean(axis=0)])


def _intervals(drawn: Floats | None, number: int) -> list[str]:
    found = [None] * number if drawn is None else bootstrap.intervals(drawn)
    return [UNMEASURED if one is None else f"{_signed(one[0])} to {_signed(one[1])}" for one in found]


def _shares(drawn: Floats | None, number: int) -> list[str]:
    """The share of the draws in which the change is above zero."""
    if drawn is None:
        return [UNMEASURED] * number
    measured = [row[~np.isnan(row)] for row in drawn]
    return [percent(float((row > 0).mean())) if len(row) else UNMEASURED for row in measured]


def _signed(value: float | None) -> str:
    """Percentage points with their sign."""
    if value is None:
        return UNMEASURED
    return "0.00" if not round(100 * value, 2) else f"{100 * value:+.2f}"


def _classes(pair: Pair, names: tuple[str, str]) -> Table:
    """The classes whose AP changed, the largest change first."""
    runs = pair.first.results, pair.other.results
    of_runs = [
        {label: _average(run, row, pair.tious) for label, row in zip(run.classes, run.class_ap, strict=True)}
        for run in runs
    ]
    found = []
    for label, number in zip(runs[0].classes, runs[0].truth_per_class, strict=True):
        before, after = (of_run.get(label) for of_run in of_runs)
        if number and before is not None and after is not None:
            found.append((after - before, label, number, before, after))
    changed = sorted((one for one in found if _signed(one[0]) != "0.00"), key=lambda one: -abs(one[0]))
    return Table(
        "Classes, largest change first",
        ["class", "actions", *names, "change"],
        1,
        [
            [Cell(label), Cell(str(number)), Cell(percent(before)), Cell(percent(after)), Cell(_signed(change))]
            for change, label, number, before, after in changed[:_MOST_ROWS]
        ],
        [
            f"AP in percent, averaged over tIoU {', '.join(map(threshold, pair.tious))}.",
            *_left_out(len(changed), len(found), "class", "classes"),
        ],
    )


def _average(run: Results, row: Sequence[float | None], tious: Sequence[float]) -> float | None:
    at = by_tiou(run.tious, row)
    return mean([at[tiou] for tiou in tious])


def _videos(first: Evaluation, other: Evaluation, names: tuple[str, str]) -> Table:
    """The videos whose F1, or whose found actions or wrong predictions changed, the largest change first."""
    judged = [
        {one.video.id: one.judgement for one in worst_first(run.results, run.predictions)} for run in (first, other)
    ]
    pairs = [(video, judged[0][video.id], judged[1][video.id]) for video in first.results.videos]
    changed = [one for one in pairs if _counts(one[1]) != _counts(one[2])]
    changed.sort(key=lambda one: -abs(_f1(one[2]) - _f1(one[1])))
    rows = [
        [
            Cell(video.id),
            Cell(str(len(video.truth))),
            Cell(percent(_f1(before))),
            Cell(percent(_f1(after))),
            Cell(_signed(_f1(after) - _f1(before))),
            Cell(f"{before.num_found} to {after.num_found}"),
            Cell(f"{before.num_wrong} to {after.num_wrong}"),
        ]
        for video, before, after in changed[:_MOST_ROWS]
    ]
    return Table(
        "Videos, largest change first",
        ["video", "actions", *names, "change", "found", "wrong"],
        1,
        rows,
        [
            f"F1 in percent of a video's predictions that reach the best-F1 threshold of their class in their run, "
            f"matched at tIoU {threshold(MATCH_TIOU)}; 100 without actions and without such predictions. Found are "
            "true actions, wrong are predictions.",
            *_left_out(len(changed), len(pairs), "video", "videos"),
        ],
    )


def _counts(judgement: Judgement) -> tuple[int, int]:
    return judgement.num_found, judgement.num_wrong


def _f1(judgement: Judgement) -> float:
    return 1.0 if judgement.f1 is None else judgement.f1


def _left_out(num_changed: int, number: int, noun: str, plural: str) -> list[str]:
    lines = []
    if num_changed > _MOST_ROWS:
        lines.append(f"{console.count(num_changed - _MOST_ROWS, f'more {noun}', f'more {plural}')} changed less.")
    if number > num_changed:
        lines.append(f"{console.count(number - num_changed, noun, plural)} unchanged.")
    return lines
