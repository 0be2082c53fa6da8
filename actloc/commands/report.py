"""`actloc report RUN...`: writes a page and tables of the results of one run, or of several side by side."""

import os
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from actloc import console, files
from actloc.commands import model_cards
from actloc.errors import UserError
from actloc.evaluation.results_files import METRICS_NAME, task_of_results
from actloc.experiment import is_run, is_scored, run_folder
from actloc.reports import outputs
from actloc.settings import parts
from actloc.settings.choices import TableForm
from actloc.tasks.base import TaskConfig, task_named

_LONGEST_NAME, _AND = 120, "_and_"


def run(
    names: Sequence[str | Path],
    *,
    output: Path | None = None,
    form: TableForm | None = None,
    card: bool = False,
    license_id: str | None = None,
    code: Sequence[Path] = (),
    overwrite: bool = False,
) -> int:
    """Writes report.html, tables.md, tables.csv and what else the task has into `output`; prints the numbers.

    With a `form`, prints the table in that form instead, and writes nothing.

    By default one run's report is in its folder, and that of several is in a folder of its own beside the first.

    `code` is the user's own, for runs of a task of the user's own.

    With `card` a model card of each run is written instead, and names `license_id` as the licence of the weights.

    Of several names, files and folders that are not runs are skipped: `ckpt/*` matches them too.
    """
    parts.use_code(code)
    skipped = [name for name in names if len(names) > 1 and _is_something_else(Path(name))]
    run_folders = [_run_folder(str(name)) for name in names if name not in skipped or len(skipped) == len(names)]
    if skipped:
        console.say(f"Skipped, not a run: {console.first_ten(skipped)}")
    run_folders = list({one.resolve(): one for one in run_folders}.values())
    if card or license_id is not None:
        others = {"--output": output, "--format": form}
        return model_cards.run(run_folders, others, card=card, license_id=license_id, overwrite=overwrite)
    if form is not None:
        return _print_table(run_folders, form, output)
    folder = output or (run_folders[0] if len(run_folders) == 1 else _folder_of_several(run_folders))
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{folder} is a file.", "Expected a folder to write the report into.", "Choose another --output."
        )
    task = _task_of(run_folders)
    is_in_run = any(folder.resolve() == one.resolve() for one in run_folders)
    made = [folder / name for name in task.report_files]
    outputs.refuse_others(made, overwrite=overwrite or is_in_run)
    contents = task.report(run_folders)
    made = [path for path in made if path.name in contents]  # a task of the user's own may write fewer
    with nullcontext() if is_in_run else outputs.recording(made):
        for path in made:
            files.write_text(path, contents[path.name])
    for path in made:
        console.say(f"Wrote {path}")
    console.say(f"Next: open {made[0]} in a browser; it needs no network.")
    if len(run_folders) == 1 and is_run(run_folders[0]):
        console.say(f"To watch its videos above these timelines: actloc view {shlex.quote(str(run_folders[0]))}")
        console.say(f"To apply the run to new videos: actloc predict {shlex.quote(str(run_folders[0]))} VIDEO")
    console.emit("done", command="report", written=[str(path) for path in made])
    return 0


def _print_table(run_folders: Sequence[Path], form: TableForm, output: Path | None) -> int:
    if output is not None:
        raise UserError(
            f"--format {form} and --output {output} were given.",
            "Expected one of them: --format prints a table, and writes no files.",
            f"Write what is printed to a file, `--format {form} > FILE`, or leave out --format.",
        )
    text = _task_of(run_folders).table(run_folders, form)
    console.result_text(text)
    console.emit("done", command="report", form=form, text=text)
    return 0


def _folder_of_several(run_folders: Sequence[Path]) -> Path:
    """`ckpt/report_of_A_and_B`: the same runs have the same one, and no other runs have it."""
    parent = run_folders[0].parent
    name = f"report_of_{_AND.join(one.name for one in run_folders)}"
    is_plain = all(one.parent.resolve() == parent.resolve() and _AND not in one.name for one in run_folders)
    if len(name) > _LONGEST_NAME or not is_plain:
        digest = files.sha256_of_bytes(b"\n".join(os.fsencode(one.resolve()) for one in run_folders))[:8]
        name = f"report_of_{run_folders[0].name[: _LONGEST_NAME // 2]}_and_{len(run_folders) - 1}_more_{digest}"
    return parent / name


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


def _task_of(run_folders: Sequence[Path]) -> TaskConfig:
    """The task that all results are of; raises UserError if they are of several."""
    scored = {run: sorted(path.parent for path in run.glob(f"eval/*/{METRICS_NAME}")) for run in run_folders}
    names = {run: task_of_results(folders[0]) for run, folders in scored.items() if folders}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{run} ({name})" for run, name in names.items())
        raise UserError(
            f"The runs are of several tasks: {listed}.",
            "Expected runs of one task, whose results can be compared.",
            "Report those of each task by themselves.",
        )
    for run, folders in scored.items():
        if not folders:
            raise UserError(
                f"{run} has no eval/*/{METRICS_NAME}.",
                "Expected the results of an evaluation, which a report shows.",
                f"Evaluate first: actloc eval {run}",
            )
    return task_named(next(iter(names.values())))
