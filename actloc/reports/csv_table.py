"""One CSV table of everything that runs of detectors measured, and of what was published for their settings."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from actloc.evaluation.results import Results
from actloc.reports import published
from actloc.reports.cells import by_tiou, mean
from actloc.reports.tables import is_upper_bound, settings_text
from actloc.reports.text import UNMEASURED, csv_cell, percent, threshold
from actloc.settings.published import PublishedMap

_TextByTIoU = dict[float, str]


class _Row(NamedTuple):
    """A row: where it comes from and what it measures, then numbers in percent."""

    texts: list[str]
    numbers: _TextByTIoU
    average: str
    above_published: str = ""
    intervals: Sequence[str] = ()
    """The ends of the interval at each tIoU of the table and of the average; empty if there are none."""


def as_csv(runs: Sequence[Results]) -> str:
    """One CSV table of everything, in percent: each run's mAP, the published one, and the AP of each class.

    A number that was not measured is an empty cell.
    """
    tious = sorted({tiou for run in runs for tiou in by_tiou(run.tious, run.mean_ap)})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ["run", "origin", "dataset", "variant", "subset", "videos", "protocol", "checkpoint", "weights", "seed"]
    names += ["commit", "machine", "changed settings", "note", "measure", "class", "actions"]
    shown = [*(threshold(tiou) for tiou in tious), "average"]
    ends = [f"{name} {end}" for name in shown for end in ("95 % low", "95 % high")]
    writer.writerow([*names, *shown, published.DIFFERENCE, *ends])
    for run in runs:
        for row in _rows(run, tious):
            numbers = [row.numbers.get(tiou, "") for tiou in tious]
            intervals = row.intervals or [""] * len(ends)
            writer.writerow([*map(csv_cell, row.texts), *numbers, row.average, row.above_published, *intervals])
    return stream.getvalue()


def _rows(run: Results, tious: Sequence[float]) -> Iterator[_Row]:
    seed, commit = "" if run.seed is None else str(run.seed), run.commit or ""
    source = [run.name, "measured", run.dataset, run.variant, run.subset, str(run.counts.videos), run.protocol]
    source += [run.checkpoint, run.weights or "", seed, commit, run.machine]
    source += [settings_text(run.changed), "; ".join(run.notes())]

    def measured(texts: list[str], values: Sequence[float | None], average: float | None, above: str = "") -> _Row:
        shown = {tiou: _cell(value) for tiou, value in by_tiou(run.tious, values).items()}
        return _Row([*source, *texts], shown, _cell(average), above.replace(UNMEASURED, ""))

    truths = str(run.counts.truths)
    above = "" if run.published is None else published.above(run)
    measure = "mAP, upper bound" if is_upper_bound(run) else "mAP"
    yield measured([measure, "", truths], run.mean_ap, run.average_map, above)._replace(intervals=_ends(run, tious))
    if run.published is not None:
        yield _published_row(run, run.published)
    more = [(f"Recall@{k}x", row) for k, row in zip(run.recall_multiples, run.recall, strict=True)]
    more += run.proposals.rows() if run.proposals else []
    if run.classifier:
        of_segments = " per segment" if run.classifier.per == "segment" else ""
        more.append((f"mAP with true classes{of_segments}", run.classifier.true_class_mean_ap))
    for name, row in more:
        yield measured([name, "", truths], row, mean(row))
    for label, number, row in zip(run.classes, run.truth_per_class, run.class_ap, strict=True):
        yield measured(["AP", label, str(number)], row, mean(row))


def _published_row(run: Results, figures: PublishedMap) -> _Row:
    every = [*figures.map, figures.average]
    at = zip(figures.tious, figures.map, strict=True) if figures.map else ()
    numbers = {round(tiou, 4): published.figure(value, every).replace(UNMEASURED, "") for tiou, value in at}
    average = published.figure(published.average_for(run), every).replace(UNMEASURED, "")
    source = [run.name, "published", run.dataset, figures.variant, figures.subset, "", figures.protocol]
    return _Row([*source, *[""] * 6, published.caption(figures), "mAP", "", ""], numbers, average)


def _ends(run: Results, tious: Sequence[float]) -> list[str]:
    """The two ends of each interval."""
    about = run.uncertainty
    if about is None:
        return []
    at = {round(tiou, 4): one for tiou, one in zip(run.tious, about.mean_ap, strict=True)}
    every = [*(at.get(tiou) for tiou in tious), about.average_map]
    return [end for one in every for end in ((_cell(one.low), _cell(one.high)) if one else ("", ""))]


def _cell(value: float | None) -> str:
    return "" if value is None else percent(value)
