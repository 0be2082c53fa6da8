"""A page and tables of the results of recognisers: accuracies, classes, and which classes are taken for which."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actloc import console
from actloc.evaluation.results_files import METRICS_NAME, read_record, refuse_mixture
from actloc.recognition.results import RecognitionResults
from actloc.reports import epochs, figures, html, map_rows, published, reproduction, run_settings, tables
from actloc.reports.cells import Cell, Table, cells
from actloc.reports.latex import table_latex
from actloc.reports.map_rows import INTERVAL, interval_captions, interval_text
from actloc.reports.runs import RunRecord, as_used, result_folders, run_record
from actloc.reports.seeds import Seeds
from actloc.reports.text import UNMEASURED, csv_cell, percent
from actloc.settings.choices import TableForm
from actloc.settings.published import PublishedAccuracy

_MOST_CONFUSED = 20
_LARGEST_MATRIX = 30
"""Classes of a confusion matrix that fits on a page; with more, the pairs that are confused most are listed."""


@dataclass(frozen=True)
class RunView:
    """What the template shows of one run."""

    anchor: str
    name: str
    short_name: str
    """What the run is called where there is little room: run 1."""
    results: RecognitionResults
    facts: list[tuple[str, str]]
    classes: Table
    confused: Table
    matrix: list[list[int]] | None
    curve: figures.Curve | None
    published: str
    """The published figures and the difference to them, in one line; empty if nothing is published."""
    commands: list[str]
    settings: str | None
    environment: str | None


def _read(run_folders: Sequence[Path]) -> list[tuple[RunRecord, RecognitionResults]]:
    evaluated = []
    for run in run_folders:
        for folder in result_folders(run):
            results = read_record(folder / METRICS_NAME, RecognitionResults)
            refuse_mixture(folder, results)
            evaluated.append((run_record(run), results))
    return evaluated


def table(run_folders: Sequence[Path], form: TableForm) -> str:
    """The table of accuracies by itself."""
    evaluated = _read(run_folders)
    runs, seeds = [results for _, results in evaluated], _seeds(evaluated)
    if form == "csv":
        return _as_csv(runs)
    shown = overview(runs, seeds, with_members=form == "markdown", with_cautions=False)
    if form == "markdown":
        return tables.as_markdown(shown)
    facts = [f"{_scored_data(run)}, mean of {run.average}, {tables.commit_text(run)}" for run in runs]
    lines = [
        f"{shown.title}. {'; '.join(dict.fromkeys(facts))}.",
        *interval_captions(runs, tables.distinct_names(runs)),
    ]
    num_measured = len(shown.rows) - len(published.all_of(runs))
    return table_latex(shown, num_measured, " ".join([*lines, *seeds.captions()]))


def report(run_folders: Sequence[Path]) -> dict[str, str]:
    """Prints the numbers; returns the contents of report.html, tables.md and tables.csv by name."""
    evaluated = _read(run_folders)
    runs = [results for _, results in evaluated]
    names = tables.distinct_names(runs)
    views = [
        _view(number, name, *one) for number, (name, one) in enumerate(zip(names, evaluated, strict=True), start=1)
    ]
    short_names = [view.short_name for view in views]
    used = [as_used(record, results) for record, results in evaluated]
    in_epochs, whole = epochs.tables(evaluated, names), overview(runs, _seeds(evaluated))
    if len(runs) == 1:
        compared, listed = [], [whole, *in_epochs, per_class(runs[0])]
    else:
        compared = [whole, *epochs.tables(evaluated, short_names), *_differing(short_names, used)]
        compared.append(class_comparison(runs, short_names))
        listed = [whole, *in_epochs, *_differing(names, used), class_comparison(runs, names)]
    page = html.template("recognition.html.jinja")
    contents = {
        "report.html": page.render(runs=views, tables=compared, in_epochs=in_epochs, most_classes=html.MOST_CLASSES),
        "tables.md": "\n".join(tables.as_markdown(table) for table in listed),
        "tables.csv": _as_csv(runs),
    }
    for one in [whole, *in_epochs]:
        console.result_table(tables.as_rich(one))
    return contents


def _differing(names: Sequence[str], settings: Sequence[run_settings.Settings]) -> list[Table]:
    table = run_settings.differing(names, settings)
    return [table] if table else []


def overview(
    runs: Sequence[RecognitionResults],
    seeds: Seeds[RecognitionResults] | None = None,
    *,
    with_members: bool = True,
    with_cautions: bool = True,
) -> Table:
    """Accuracies of each run; the best is marked if all were measured on the same clips with the same views.

    Runs that differ in the seed only are one row, `with_members` above the runs themselves.
    """
    marks = all(_measured_on(run) == _measured_on(runs[0]) for run in runs)
    names = tables.distinct_names(runs)
    cautions = [f"{name}: {caution}" for name, run in zip(names, runs, strict=True) for caution in run.cautions()]
    warning = [] if marks else ["The runs differ in data or views, so the best is not marked."]
    entries = map_rows.entries([_numbers(run) for run in runs], names, seeds.groups() if seeds else ())
    fair = [not any(runs[place].is_measured_on_training_videos() for place in entry.places) for entry in entries]
    columns = [cells([entry.values[place] for entry in entries], marks, fair) for place in range(3)]
    known = published.all_of(runs)
    rows = []
    for entry, row in zip(entries, zip(*columns, strict=True), strict=True):
        if len(entry.places) > 1:
            shown = [replace(cell, text=entry.text(place)) for place, cell in enumerate(row)]
            rows.append([Cell(entry.name), Cell(runs[entry.places[0]].views), *shown, *[Cell("")] * bool(known)])
        members = entry.places if with_members or len(entry.places) == 1 else ()
        for run, name in ((runs[place], names[place]) for place in members):
            single = row if len(entry.places) == 1 else [Cell(percent(value)) for value in _numbers(run)]
            rows.append([Cell(name), Cell(run.views), *single, *[Cell(_above_published(run))] * bool(known)])
            rows += [[*ends, *[Cell("")] * bool(known)] for ends in _intervals(run)]
    rows += [_published_row(figures) for figures in known]
    return Table(
        title="Accuracy in percent",
        columns=["run", "views", "top-1", "top-5", "mean class", *(["top-1 to published"] if known else [])],
        num_names=2,
        rows=rows,
        caption=[
            f"{name}: {_scored_data(run)}; mean of {run.average}; {tables.origin(run)}"
            for name, run in zip(names, runs, strict=True)
        ]
        + interval_captions(runs, names)
        + [published.caption(figures) for figures in known]
        + [
            f"{name} is not compared with the published figures: {_hindrance(run)}."
            for name, run in zip(names, runs, strict=True)
            if run.published is not None and _hindrance(run)
        ]
        + warning
        + (seeds.captions() if seeds else [])
        + cautions * with_cautions,
    )


def _seeds(evaluated: Sequence[tuple[RunRecord, RecognitionResults]]) -> Seeds[RecognitionResults]:
    runs = [results for _, results in evaluated]
    used = [as_used(record, results) for record, results in evaluated]
    return Seeds(tables.distinct_names(runs), used, runs, _data_differences)


def _data_differences(first: RecognitionResults, second: RecognitionResults) -> list[str]:
    return ["data or views"] * (_measured_on(first) != _measured_on(second))


def _measured_on(run: RecognitionResults) -> tuple[object, ...]:
    return run.dataset, run.variant, run.subset, run.counts.clips, run.views, run.average, *_clips_of_classes(run)


def _numbers(run: RecognitionResults) -> list[float | None]:
    return [run.top_1, run.top_5, run.mean_class_accuracy]


def _intervals(run: RecognitionResults) -> list[list[Cell]]:
    """The row below a run; none where it was not measured."""
    about = run.uncertainty
    if about is None:
        return []
    texts = map(interval_text, (about.top_1, about.top_5, about.mean_class_accuracy))
    return [[Cell(INTERVAL), Cell(""), *map(Cell, texts)]]


def _hindrance(run: RecognitionResults) -> str:
    """Why the results cannot be compared with the published ones of their settings; empty if they can."""
    if run.published is None:
        return "nothing is published for these settings"
    if run.published.views != run.views:
        return f"views {run.published.views}, here {run.views}"
    return published.hindrance_of_any(run, run.published)


def _above_published(run: RecognitionResults) -> str:
    if run.published is None or _hindrance(run):
        return UNMEASURED
    return published.difference(run.top_1, run.published.top_1)


def _published_row(figures: PublishedAccuracy) -> list[Cell]:
    first, five = (published.figure(value, [figures.top_1, figures.top_5]) for value in (figures.top_1, figures.top_5))
    texts = [published.row_name(figures), figures.views, first, five, UNMEASURED, UNMEASURED]
    return [Cell(text) for text in texts]


def _published_headline(run: RecognitionResults) -> str:
    figures = run.published
    if figures is None or figures.top_1 is None:
        return ""
    first, five = _published_row(figures)[2:4]
    compared = (
        f"not comparable: {_hindrance(run)}" if _hindrance(run) else f"difference in top-1 {_above_published(run)}"
    )
    return f"published: top-1 {first.text} %, top-5 {five.text} % ({figures.source}); {compared}"


def class_comparison(runs: Sequence[RecognitionResults], names: Sequence[str]) -> Table:
    """Top-1 accuracy of each class in each run, under these names; a dash where a run has no clip of the class."""
    by_run = [{name: one.top_1 for name, one in zip(run.classes, run.per_class, strict=True)} for run in runs]
    labels = dict.fromkeys(label for accuracies in by_run for label in accuracies)
    return Table(
        title="Top-1 accuracy in percent per class",
        columns=["class", *names],
        num_names=1,
        rows=[[Cell(label), *cells([one.get(label) for one in by_run], False)] for label in labels],
        caption=[],
    )


def _clips_of_classes(run: RecognitionResults) -> list[tuple[str, int]]:
    return [(name, one.clips) for name, one in zip(run.classes, run.per_class, strict=True)]


def per_class(run: RecognitionResults) -> Table:
    """Accuracies of each class that has clips, best first."""
    known = [(name, one) for name, one in zip(run.classes, run.per_class, strict=True) if one.clips]
    known.sort(key=lambda pair: -(pair[1].top_1 or 0.0))
    absent = len(run.classes) - len(known)
    caption = [f"{console.count(absent, 'class has', 'classes have')} no clip here."] if absent else []
    return Table(
        title="Accuracy in percent per class",
        columns=["class", "clips", "top-1", "top-5"],
        num_names=1,
        rows=[[Cell(name), Cell(str(one.clips)), *cells([one.top_1, one.top_5], False)] for name, one in known],
        caption=caption,
    )


def _confused(run: RecognitionResults) -> Table:
    """The pairs of classes that are taken for each other most often."""
    wrong = sorted((one for one in run.confusion if one.true != one.predicted), key=lambda one: -one.clips)
    rows = [
        [Cell(run.classes[one.true]), Cell(run.classes[one.predicted]), Cell(str(one.clips))]
        for one in wrong[:_MOST_CONFUSED]
    ]
    more = len(wrong) - len(rows)
    caption = [f"And {console.count(more, 'other pair', 'other pairs')}."] if more > 0 else []
    return Table("Classes taken for others", ["true class", "taken for", "clips"], 2, rows, caption)


def _view(number: int, name: str, record: RunRecord, results: RecognitionResults) -> RunView:
    return RunView(
        anchor=f"run-{number}",
        name=name,
        short_name=f"run {number}",
        results=results,
        facts=[
            ("Data", _scored_data(results)),
            ("Views", f"{results.views}, mean of {results.average}"),
            *run_settings.key_facts(record.chosen, html.last_step(results, record)),
            *html.provenance_facts(results),
        ],
        classes=per_class(results),
        confused=_confused(results),
        matrix=results.confusion_table() if len(results.classes) <= _LARGEST_MATRIX else None,
        curve=figures.curve(record.losses),
        published=_published_headline(results),
        commands=reproduction.commands(record, results),
        settings=record.settings,
        environment=record.environment,
    )


def _scored_data(run: RecognitionResults) -> str:
    parts = [f"{run.dataset} {run.subset}", run.variant, console.count(run.counts.clips, "clip")]
    return ", ".join(part for part in parts if part)


def _as_csv(runs: Sequence[RecognitionResults]) -> str:
    """One table of everything, in percent: each run's accuracies, and those of each class."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ["run", "origin", "dataset", "variant", "subset", "views", "average", "checkpoint", "weights", "seed"]
    ends = [f"{name} 95 % {end}" for name in ("top-1", "top-5", "mean class") for end in ("low", "high")]
    writer.writerow([*names, "commit", "machine", "class", "clips", "top-1", "top-5", "mean class", "note", *ends])
    for run in runs:
        source = [run.name, "measured", run.dataset, run.variant, run.subset, run.views, run.average]
        source += [run.checkpoint, run.weights or "", "" if run.seed is None else str(run.seed)]
        source += [run.commit or "", run.machine]
        rows = [("", run.counts.clips, [run.top_1, run.top_5, run.mean_class_accuracy])]
        rows += [
            (name, one.clips, [one.top_1, one.top_5, None])
            for name, one in zip(run.classes, run.per_class, strict=True)
        ]
        for label, clips, values in rows:
            numbers = ["" if value is None else percent(value) for value in values]
            intervals = [""] * len(ends) if label else _ends(run)
            writer.writerow([*map(csv_cell, source), csv_cell(label), clips, *numbers, "", *intervals])
        if run.published is not None:
            figures = run.published
            numbers = [cell.text.replace(UNMEASURED, "") for cell in _published_row(figures)[2:5]]
            source = [run.name, "published", run.dataset, figures.variant, figures.subset, figures.views, *[""] * 6]
            note = csv_cell(published.caption(figures))
            writer.writerow([*map(csv_cell, source), "", "", *numbers, note, *[""] * len(ends)])
    return stream.getvalue()


def _ends(run: RecognitionResults) -> list[str]:
    """The two ends of each interval; empty cells where there is none."""
    about = run.uncertainty
    every = (about.top_1, about.top_5, about.mean_class_accuracy) if about else (None, None, None)
    return [end for one in every for end in ((percent(one.low), percent(one.high)) if one else ("", ""))]
