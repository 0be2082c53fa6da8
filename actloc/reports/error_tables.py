"""The error analysis as tables for Markdown and pages, and as errors.csv."""

import csv
import io
from collections.abc import Iterator, Sequence
from math import isinf, isnan

from actloc.evaluation.error_analysis.analysis import ErrorAnalysis
from actloc.evaluation.error_analysis.kinds import KINDS
from actloc.evaluation.results import Results
from actloc.reports.cells import Cell, Table, by_tiou
from actloc.reports.error_figures import KIND_NAMES, ErrorView, cost_sentence, error_view
from actloc.reports.tables import settings_text
from actloc.reports.text import UNMEASURED, csv_cell, percent, threshold

CAPTION = (
    "mAP_N is mAP with precision as if every class had N true actions, their mean number, so that classes can be "
    "compared. A class's false positives are those among its best 10 G predictions, G being its true actions. The cost "
    "of a kind of error is by how many points mAP_N rises without its predictions."
)


def tables_of(name: str, analysis: ErrorAnalysis) -> list[Table]:
    """What goes wrong in one run: what each kind of false positive costs, their profile, and what is missed."""
    view = error_view(analysis)
    cost = Table(
        title=f"Where it fails: kinds of predictions, {name}",
        columns=["kind", "best G (%)", "best 10 G (%)", "cost (points of mAP_N)"],
        num_names=1,
        rows=[
            [Cell(line.name), Cell(percent(line.best)), Cell(percent(line.every)), Cell(points(line.cost))]
            for line in view.kinds
        ],
        caption=[f"mAP_N {percent(view.normalised_map)}. {view.cost}", view.profile, CAPTION],
    )
    return [cost, profile_table(view), bins_table(view)]


def profile_table(view: ErrorView) -> Table:
    """The shares of the kinds in each group of G predictions."""
    rows = []
    for group in view.groups:
        shares = {part.kind: part.share for part in group.parts}
        shown = [percent(shares.get(kind, 0.0) if shares else None) for kind in range(len(KINDS))]
        rows.append([Cell(group.name), *map(Cell, shown)])
    caption = "1G: the best G predictions of each class, 2G: the next G, and so on; shares in percent."
    return Table("Kinds of predictions by rank", ["ranks", *KIND_NAMES], 1, rows, [caption])


def bins_table(view: ErrorView) -> Table:
    """Missed true actions and mAP_N by coverage, length and instances."""
    rows = [
        [
            *map(Cell, (one.name, line.label, line.range, str(line.count))),
            *(Cell(percent(value)) for value in (line.share, line.missed, line.normalised_map)),
        ]
        for one in view.bins
        for line in one.lines
    ]
    left_out = [f"{one.name}: {one.left_out} true actions have no range." for one in view.bins if one.left_out]
    columns = ["characteristic", "range", "values", "actions", "share (%)", "missed (%)", "mAP_N (%)"]
    base = f"mAP_N of all true actions and predictions: {percent(view.base)}."
    return Table("Missed true actions and mAP_N by range", columns, 3, rows, [base, *left_out])


def error_comparison(names: Sequence[str], analyses: Sequence[ErrorAnalysis | None]) -> list[Table]:
    """Tables that compare what goes wrong in several runs; those without true actions are left out."""
    known = [(name, analysis) for name, analysis in zip(names, analyses, strict=True) if analysis]
    if not known:
        return []
    of_runs = [name for name, _ in known], [analysis for _, analysis in known]
    missed = missed_comparison(*of_runs)
    return [cost_comparison(*of_runs), *([missed] if missed else [])]


def cost_comparison(names: Sequence[str], analyses: Sequence[ErrorAnalysis]) -> Table:
    """What each kind of false positive costs in each run, the most expensive one marked."""
    rows = []
    for name, analysis in zip(names, analyses, strict=True):
        gains = analysis.false_positives.gains.tolist()
        worst = max(range(len(gains)), key=gains.__getitem__)
        cells = [Cell(points(gain), place == worst and gain > 0) for place, gain in enumerate(gains)]
        rows.append([Cell(name), Cell(percent(analysis.normalised_map)), *cells])
    return Table(
        title="Where they fail: the cost of each kind of error, in points of mAP_N",
        columns=["run", "mAP_N (%)", *KIND_NAMES[1:]],
        num_names=1,
        rows=rows,
        caption=[f"{name}: {cost_sentence(one)}" for name, one in zip(names, analyses, strict=True)] + [CAPTION],
    )


def missed_comparison(names: Sequence[str], analyses: Sequence[ErrorAnalysis]) -> Table | None:
    """The share of missed true actions by range in each run; None if their ranges differ."""
    if any([one.bins.edges for one in analysis.by_bin] != _edges(analyses[0]) for analysis in analyses):
        return None
    views = [error_view(analysis) for analysis in analyses]
    rows = []
    for place, first in enumerate(views[0].bins):
        for number, line in enumerate(first.lines):
            values = [view.bins[place].lines[number].missed for view in views]
            rows.append([*map(Cell, (first.name, line.label, line.range)), *map(Cell, map(percent, values))])
    return Table("Missed true actions in percent, by range", ["characteristic", "range", "values", *names], 3, rows, [])


def _edges(analysis: ErrorAnalysis) -> list[list[float]]:
    return [one.bins.edges for one in analysis.by_bin]


def points(gain: float | None) -> str:
    """A difference of mAP in points with its sign; a dash for what costs nothing by definition."""
    return UNMEASURED if gain is None else f"{100 * gain:+.2f}"


def as_csv(runs: Sequence[Results], analyses: Sequence[ErrorAnalysis | None]) -> str:
    """One CSV table of every error analysis: a row per number, in percent but for counts; its average over tIoUs last.

    A number that was not measured is an empty cell.
    """
    tious = sorted({tiou for run in runs for tiou in by_tiou(run.tious, run.mean_ap)})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    about = ["run", "dataset", "variant", "subset", "protocol", "checkpoint", "seed", "changed settings"]
    what = ["measure", "class", "kind", "group", "characteristic", "range", "above", "up to", "actions"]
    writer.writerow([*about, *what, *map(threshold, tious), "average"])
    for run, analysis in zip(runs, analyses, strict=True):
        source = [run.name, run.dataset, run.variant, run.subset, run.protocol, run.checkpoint]
        source += ["" if run.seed is None else str(run.seed), settings_text(run.changed)]
        for texts, values, average in _rows(analysis) if analysis else ():
            numbers = by_tiou(run.tious, values) if values else {}
            shown = [_shown(numbers.get(tiou), texts[0]) for tiou in tious]
            writer.writerow([*map(csv_cell, [*source, *texts]), *shown, _shown(average, texts[0])])
    return stream.getvalue()


_COUNTS = "predictions"
"""The measure whose numbers are counts."""


def _shown(value: float | None, measure: str) -> str:
    if value is None or isnan(value):
        return ""
    return f"{value:g}" if measure == _COUNTS else percent(value)


_CsvRow = tuple[list[str], list[float], float]


def _rows(analysis: ErrorAnalysis) -> Iterator[_CsvRow]:
    """What a row measures, its number at each tIoU, and their mean."""

    def row(values: Sequence[float], measure: str, label: str = "", kind: str = "", group: str = "") -> _CsvRow:
        listed = [float(value) for value in values]
        return [measure, label, kind, group, "", "", "", "", ""], listed, sum(listed) / len(listed)

    found, ap = analysis.false_positives, analysis.normalised_ap
    yield row(ap.mean(axis=1).tolist(), "mAP_N of the best 10 G")
    for column, label in enumerate(analysis.classes):
        yield row(ap[:, column].tolist(), "AP_N of the best 10 G", label)
    for kind, name in enumerate(KIND_NAMES):
        yield row(found.counts[:, kind].tolist(), _COUNTS, kind=name)
    for kind, name in enumerate(KIND_NAMES[1:]):
        gains = found.ap_without[kind].mean(axis=1) - ap.mean(axis=1)
        yield row(gains.tolist(), "cost", kind=name)
    for group, numbers in enumerate(found.per_group, start=1):
        for kind, name in enumerate(KIND_NAMES):
            yield row(numbers[kind].tolist(), _COUNTS, kind=name, group=f"{group}G")
    yield ["mAP_N of all", *[""] * 8], [], analysis.base_normalised_map
    for one in analysis.by_bin:
        bins = one.bins
        for place, label in enumerate(bins.labels):
            above, up_to = ("" if isinf(edge) else f"{edge:.6g}" for edge in bins.edges[place : place + 2])
            where = [bins.characteristic, label, above, up_to, str(bins.counts[place])]
            missed = one.missed[:, place].tolist()
            yield ["missed", "", "", "", *where], missed, sum(missed) / len(missed)
            yield ["mAP_N", "", "", "", *where], [], float(one.normalised_map[place])
            yield ["share of actions", "", "", "", *where], [], float(one.share[place])
