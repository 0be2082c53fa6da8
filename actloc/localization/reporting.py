"""A page and tables of the results of one run, or of several side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.evaluation.rescoring import uncertainty_of
from actloc.evaluation.results import Results
from actloc.reports import epochs, error_tables
from actloc.reports.cells import Table
from actloc.reports.comparison import Pair, pairs_with_first
from actloc.reports.csv_table import as_csv
from actloc.reports.curve_tables import curve_tables, curves_csv
from actloc.reports.curves import curves_of
from actloc.reports.error_figures import cost_sentence
from actloc.reports.error_tables import error_comparison, tables_of
from actloc.reports.html import report_page
from actloc.reports.latex import map_latex
from actloc.reports.run_settings import differing
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.seeds import merged_table
from actloc.reports.tables import as_markdown, as_rich, class_comparison, class_table, more_tables, run_names
from actloc.settings.choices import TableForm


def report(run_folders: Sequence[Path]) -> dict[str, str]:
    """Prints the numbers; returns the contents of the report's files by name."""
    evaluations = read(run_folders)
    pairs = pairs_with_first(evaluations)
    contents = contents_of(evaluations, pairs)
    runs = [evaluation.results for evaluation in evaluations]
    names = run_names(runs)
    in_epochs = epochs.tables([(one, one.results) for one in evaluations], names)
    for table in [merged_table(evaluations), *more_tables(runs), *in_epochs, *_overall(pairs, names)]:
        console.result_table(as_rich(table))
    for evaluation in evaluations:
        if evaluation.errors:
            console.say(f"{evaluation.results.name}, {evaluation.results.subset}: {cost_sentence(evaluation.errors)}")
    for one in runs:
        for line in one.counts.cut_lines():
            console.say(f"{one.name}, {one.subset}: {line}")
    return contents


def table(run_folders: Sequence[Path], form: TableForm) -> str:
    """The table of mAP by itself."""
    evaluations = read(run_folders)
    if form == "latex":
        return map_latex(evaluations)
    if form == "markdown":
        return as_markdown(merged_table(evaluations))
    return as_csv([one.results for one in evaluations])


def _overall(pairs: Sequence[Pair], names: Sequence[str]) -> list[Table]:
    both = [(names[0], name) for name in names[1:]]
    return [pair.overall(two) for pair, two in zip(pairs, both, strict=True) if not pair.hindrance]


def read(run_folders: Sequence[Path]) -> list[Evaluation]:
    """Every evaluation of the runs; intervals that an older version did not measure are measured now."""
    evaluations = [evaluation for run_folder in run_folders for evaluation in read_run(run_folder)]
    return [replace(one, results=_with_uncertainty(one)) for one in evaluations]


def _with_uncertainty(evaluation: Evaluation) -> Results:
    found = uncertainty_of(evaluation.results, evaluation.predictions)
    return evaluation.results.model_copy(update={"uncertainty": found})


def contents_of(evaluations: Sequence[Evaluation], pairs: Sequence[Pair]) -> dict[str, str]:
    """The page and the tables; `pairs` are those of the first run with each of the others."""
    runs = [evaluation.results for evaluation in evaluations]
    errors = [evaluation.errors for evaluation in evaluations]
    names, listed = run_names(runs), [merged_table(evaluations), *more_tables(runs)]
    listed += epochs.tables([(one, one.results) for one in evaluations], names)
    if len(runs) == 1:
        listed += tables_of(runs[0].name, errors[0]) if errors[0] else []
        listed.append(class_table(runs[0]))
    else:
        differences = differing(names, [evaluation.as_used for evaluation in evaluations])
        listed += [*([differences] if differences else []), *error_comparison(names, errors)]
        listed.append(class_comparison(runs))
        for pair, name in zip(pairs, names[1:], strict=True):
            both = names[0], name
            listed += [] if pair.hindrance else [pair.overall(both), *pair.details(both)]
    curves = [curves_of(one.results, one.predictions) for one in evaluations]
    known = [(name, one) for name, one in zip(names, curves, strict=True) if one is not None]
    listed += [table for _, one in known for table in curve_tables(one) if len(runs) == 1]
    return {
        "report.html": report_page(evaluations, pairs, curves),
        "tables.md": "\n".join(as_markdown(table) for table in listed),
        "tables.csv": as_csv(runs),
        "errors.csv": error_tables.as_csv(runs, errors),
        "curves.csv": curves_csv(known),
    }
