"""`actloc report RUN...`: one page and tables of what evaluations measured, one run or several side by side."""

from collections.abc import Sequence
from pathlib import Path

from actloc import console, files
from actloc.errors import UserError
from actloc.reports.html import report_page
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.tables import as_csv, as_markdown, as_rich, class_comparison, class_table, map_table, more_tables


def run(run_folders: list[Path], *, output: Path | None = None) -> int:
    """Writes report.html, tables.md and tables.csv into `output` (default: the first run); prints the numbers."""
    folder = output or run_folders[0]
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{folder} is a file.", "Expected a folder to write the report into.", "Choose another --output."
        )
    evaluations = [evaluation for run_folder in run_folders for evaluation in read_run(run_folder)]
    written = write_report(folder, evaluations)
    runs = [evaluation.results for evaluation in evaluations]
    for table in [map_table(runs), *more_tables(runs)]:
        console.result_table(as_rich(table))
    for path in written:
        console.say(f"Wrote {path}")
    console.say(f"Next: open {written[0]} in a browser; it needs no network.")
    console.emit("done", command="report", written=[str(path) for path in written])
    return 0


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
