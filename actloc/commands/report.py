"""`actloc report RUN...`: writes a page and tables of the results of one run, or of several side by side."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import is_run, is_scored, run_folder
from actloc.reports.html import report_page
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.tables import as_csv, as_markdown, as_rich, class_comparison, class_table, map_table, more_tables


def run(names: Sequence[str | Path], *, output: Path | None = None) -> int:
    """Writes report.html, tables.md and tables.csv into `output` (default: the first run); prints the numbers.

    Of several names, files and folders that are not runs are skipped: `ckpt/*` matches them too.
    """
    skipped = [name for name in names if len(names) > 1 and _is_something_else(Path(name))]
    run_folders = [_run_folder(str(name)) for name in names if name not in skipped or len(skipped) == len(names)]
    if skipped:
        console.say(f"Skipped, not a run: {console.first_ten(skipped)}")
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


def _run_folder(name: str) -> Path:
    folder = run_folder(name)
    if not is_run(folder) and not is_scored(folder):
        raise UserError(
            f"{name} has no run yet: there is no {folder}.",
            "Expected a run that `actloc eval` has scored.",
            f"Train and evaluate first: actloc train {shlex.quote(name)}",
        )
    return folder


def _is_something_else(path: Path) -> bool:
    """Whether there is a file or folder that is neither a run nor a config."""
    if path.is_dir():
        return not is_run(path) and not is_scored(path)
    return path.is_file() and path.suffix not in (".yaml", ".yml")


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
