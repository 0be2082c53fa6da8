"""A page and tables of the results of one run, or of several side by side."""

from collections.abc import Sequence
from pathlib import Path

from actloc import console
from actloc.reports.csv_table import as_csv
from actloc.reports.curve_tables import curve_tables, curves_csv
from actloc.reports.curves import curves_of
from actloc.reports.html import report_page
from actloc.reports.run_settings import differing
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.tables import as_markdown, as_rich, class_comparison, class_table, map_table, more_tables, run_names


def report(run_folders: Sequence[Path]) -> dict[str, str]:
    """Prints the numbers; returns the contents of report.html, tables.md, tables.csv and curves.csv by name."""
    evaluations = [evaluation for run_folder in run_folders for evaluation in read_run(run_folder)]
    contents = contents_of(evaluations)
    runs = [evaluation.results for evaluation in evaluations]
    for table in [map_table(runs), *more_tables(runs)]:
        console.result_table(as_rich(table))
    for one in runs:
        for line in one.counts.cut_lines():
            console.say(f"{one.name}, {one.subset}: {line}")
    return contents


def contents_of(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """The page and the tables."""
    runs = [evaluation.results for evaluation in evaluations]
    listed = [map_table(runs), *more_tables(runs)]
    if len(runs) == 1:
        listed.append(class_table(runs[0]))
    else:
        differences = differing(run_names(runs), [evaluation.as_used for evaluation in evaluations])
        listed += [*([differences] if differences else []), class_comparison(runs)]
    curves = [curves_of(one.results, one.predictions) for one in evaluations]
    known = [(name, one) for name, one in zip(run_names(runs), curves, strict=True) if one is not None]
    listed += [table for _, one in known for table in curve_tables(one) if len(runs) == 1]
    return {
        "report.html": report_page(evaluations, curves),
        "tables.md": "\n".join(as_markdown(table) for table in listed),
        "tables.csv": as_csv(runs),
        "curves.csv": curves_csv(known),
    }
