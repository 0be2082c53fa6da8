"""A page and tables of the results of one run, or of several side by side."""

from collections.abc import Sequence
from pathlib import Path

from actloc import console
from actloc.reports import error_tables
from actloc.reports.csv_table import as_csv
from actloc.reports.error_figures import cost_sentence
from actloc.reports.error_tables import error_comparison, tables_of
from actloc.reports.html import report_page
from actloc.reports.run_settings import differing
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.tables import as_markdown, as_rich, class_comparison, class_table, map_table, more_tables, run_names


def report(run_folders: Sequence[Path]) -> dict[str, str]:
    """Prints the numbers; returns the contents of report.html, tables.md, tables.csv and errors.csv by name."""
    evaluations = [evaluation for run_folder in run_folders for evaluation in read_run(run_folder)]
    contents = contents_of(evaluations)
    runs = [evaluation.results for evaluation in evaluations]
    for table in [map_table(runs), *more_tables(runs)]:
        console.result_table(as_rich(table))
    for evaluation in evaluations:
        if evaluation.errors:
            console.say(f"{evaluation.results.name}, {evaluation.results.subset}: {cost_sentence(evaluation.errors)}")
    for one in runs:
        for line in one.counts.cut_lines():
            console.say(f"{one.name}, {one.subset}: {line}")
    return contents


def contents_of(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """The page and the tables."""
    runs = [evaluation.results for evaluation in evaluations]
    errors = [evaluation.errors for evaluation in evaluations]
    listed = [map_table(runs), *more_tables(runs)]
    if len(runs) == 1:
        listed += tables_of(runs[0].name, errors[0]) if errors[0] else []
        listed.append(class_table(runs[0]))
    else:
        differences = differing(run_names(runs), [evaluation.as_used for evaluation in evaluations])
        listed += [*([differences] if differences else []), *error_comparison(run_names(runs), errors)]
        listed.append(class_comparison(runs))
    return {
        "report.html": report_page(evaluations),
        "tables.md": "\n".join(as_markdown(table) for table in listed),
        "tables.csv": as_csv(runs),
        "errors.csv": error_tables.as_csv(runs, errors),
    }
