"""A page and tables of the results of one run, or of several side by side."""

from collections.abc import Sequence
from pathlib import Path

from actloc import console, files
from actloc.reports.html import report_page
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.tables import as_csv, as_markdown, as_rich, class_comparison, class_table, map_table, more_tables


def report(run_folders: Sequence[Path], folder: Path) -> list[Path]:
    """Prints the numbers, and writes report.html, tables.md and tables.csv into `folder`; returns their paths."""
    evaluations = [evaluation for run_folder in run_folders for evaluation in read_run(run_folder)]
    written = write_report(folder, evaluations)
    runs = [evaluation.results for evaluation in evaluations]
    for table in [map_table(runs), *more_tables(runs)]:
        console.result_table(as_rich(table))
    for one in runs:
        for line in one.counts.cut_lines():
            console.say(f"{one.name}, {one.subset}: {line}")
    return written


def write_report(folder: Path, evaluations: Sequence[Evaluation]) -> list[Path]:
    """Writes the page and the tables; returns their paths, the page first."""
    runs = [evaluation.results for evaluation in evaluations]
    per_class = class_table(runs[0]) if len(runs) == 1 else class_comparison(runs)
    contents = {
        "report.html": report_page(evaluations),
        "tables.md": "\n".join(as_markdown(table) for table in [map_table(runs), *more_tables(runs), per_class]),
        "tables.csv": as_csv(runs),
    }
    for name, content in contents.items():
        files.write_text(folder / name, content)
    return [folder / name for name in contents]
