"""`actloc train CONFIG`: trains the networks of a task into a run folder, or resumes it; also under torchrun."""

from contextlib import ExitStack
from pathlib import Path

from actloc import console, files
from actloc.datasets.base import read_prepared
from actloc.errors import UserError
from actloc.experiment import Experiment, is_run, load, recorded_code
from actloc.runs.loss_curve import history_and_advice
from actloc.runs.record import is_finished
from actloc.runs.reuse import (
    refuse_changed_annotations,
    refuse_changed_sources,
    report_edited_annotations,
    starts_anew,
    warn_of_averages,
    warn_of_changed_sources,
)
from actloc.settings import code_files
from actloc.settings.run_folder import incomplete
from actloc.settings.sameness import differences
from actloc.signals import StopFlag
from actloc.tasks.base import task_of
from actloc.training import checkpoint as checkpoints
from actloc.training import summary
from actloc.training.distributed import Processes, joined

_OURS = ("environment.json", "eval", "report.html", "tables.md", "tables.csv", "errors.csv", "curves.csv")
"""Files that may be in a folder before its run: left by a kill at the very start, or by `eval --predictions`."""


def run(
    experiment: Experiment,
    *,
    resume: str | None = None,
    dry_run: bool = False,
    check: bool = False,
    allow_changed_code: bool = False,
    overwrite: bool = False,
    is_part: bool = False,
) -> int:
    """Trains to the end of the schedule; after a signal, saves everything and raises Stopped.

    `dry_run` reports the memory of a step and anything missing, and writes nothing; `check` takes two steps on top. A
    run trained with the user's own code is resumed with changed code only if `allow_changed_code`.
    Training that `is_part` of another command leaves it to that one to say what to do next.
    """
    if dry_run and check:
        raise UserError(
            "--dry-run and --check were both given.",
            "Expected one: --dry-run calculates the memory of a step, --check takes two steps and measures.",
            "Remove one of them.",
        )
    with joined(experiment.machine.device) as processes:
        if dry_run:
            return processes.of_first(lambda: task_of(experiment).dry_run(experiment, processes.size))
        if check:
            from actloc.commands import train_check

            return train_check.run(experiment, processes)
        processes.of_first(lambda: _check_code(experiment, allow_changed_code or overwrite))
        _run(experiment, resume, overwrite, processes)
        return processes.of_first(lambda: _report_finished(experiment, is_part=is_part))


def _run(experiment: Experiment, resume: str | None, overwrite: bool, processes: Processes) -> None:
    start, is_done = processes.of_first(lambda: _look_at_folder(experiment, resume, overwrite))
    if not is_done:
        with ExitStack() as held:
            # one lock for the job: a second lock in the same job would be refused
            processes.of_first(lambda: held.enter_context(files.locked(experiment.run_folder)))
            _train(experiment, start, overwrite, held.enter_context(StopFlag()), processes)


def _look_at_folder(experiment: Experiment, resume: str | None, overwrite: bool) -> tuple[Path | None, bool]:
    """The checkpoint asked for, and whether the run is finished; raises UserError if it must not be resumed."""
    folder = experiment.run_folder
    _refuse_foreign_folder(folder)
    start = None if resume is None else checkpoints.named(folder, resume)
    if overwrite and resume:
        raise UserError(
            "--overwrite and --resume were both given.",
            "Expected one of them: train from scratch, or continue from a checkpoint.",
            "Remove one of them.",
        )
    if overwrite or not checkpoints.steps(folder):
        refuse_changed_sources(experiment)
    else:
        warn_of_changed_sources(experiment, f"{folder} is trained on")
    if overwrite:
        return None, False
    _refuse_other_settings(experiment)
    refuse_changed_annotations(experiment)
    return start, start is None and is_finished(folder) and not checkpoints.problems(checkpoints.last(folder))


def _check_code(experiment: Experiment, allow_changed: bool) -> None:
    """Raises UserError if the user's own code is not the code that the weights were trained with.

    With `allow_changed` the run is resumed: correcting a mistake should not cost epochs. The record then names both.
    """
    folder = experiment.run_folder
    changed = code_files.changes(recorded_code(folder)) if checkpoints.steps(folder) else []
    if changed and not allow_changed:
        listed = "\n  ".join(changed)
        raise UserError(
            f"{folder} was trained with other code:\n  {listed}",
            "A run can only be resumed with the code it was trained with.",
            "Restore that code, or resume with the new code: --allow-changed-code; "
            "or train from scratch: --overwrite, or run.name=ANOTHER to keep both",
        )


def _refuse_foreign_folder(folder: Path) -> None:
    """Raises UserError for a folder of other files: nothing is written or deleted there."""
    foreign = folder.is_dir() and [path for path in folder.iterdir() if path.name not in _OURS and path.name[0] != "."]
    if foreign and not is_run(folder):
        raise incomplete(folder) or UserError(
            f"{folder} exists and is not a run.",
            "Expected a run folder, or one that does not exist yet.",
            "Choose another with run.name=ANOTHER",
        )


def _train(experiment: Experiment, resume: Path | None, overwrite: bool, stop: StopFlag, processes: Processes) -> None:
    file = experiment.dataset.annotations_file
    with ExitStack() as held:
        is_new = starts_anew(experiment, overwrite=overwrite)
        before = processes.of_first(lambda: files.read_bytes(file) if file.is_file() else b"")
        annotations = read_prepared(experiment.dataset, experiment.arguments)
        task_of(experiment).check_training(experiment, annotations)
        # imported after the checks, which answer faster without torch
        from actloc.commands import training_run

        training_run.be_repeatable()
        weights = training_run.starting_weights_of(experiment) if is_new else None  # before anything takes time
        prepared = task_of(experiment).prepare_training(experiment, annotations, processes, held, is_new=is_new)
        if processes.of_first(lambda: files.read_bytes(file)) != before:
            raise UserError(
                f"{file} was changed while it was read.",
                "Expected annotations that stay as they are until training starts.",
                "Run the same command again.",
            )
        training_run.run_trainer(prepared, before, resume, overwrite, weights, stop, processes)
        processes.of_first(lambda: report_edited_annotations(experiment, before))


def _refuse_other_settings(experiment: Experiment) -> None:
    """Raises UserError if a setting that shapes weights has changed since the run was trained."""
    recorded = experiment.run_folder / "config.yaml"
    if not recorded.is_file():
        return
    # loaded with today's defaults: a setting that is newer than the run does not count as different
    differing = differences(load(str(recorded)).shaping("weights"), experiment.shaping("weights"), "in the run", "now")
    if differing:
        listed = "\n  ".join(differing)
        raise UserError(
            f"{experiment.run_folder} was trained with other settings:\n  {listed}",
            "A run can only be resumed with the settings it was trained with.",
            "Train another run with run.name=ANOTHER, from this one's weights if you add "
            f"training.initialise={experiment.run_folder}; or replace this one with --overwrite.",
        )


def _report_finished(experiment: Experiment, *, is_part: bool) -> int:
    """Prints how long training took, how far the loss fell, and what to do next unless it `is_part`."""
    folder = experiment.run_folder
    checkpoint = checkpoints.last(folder)
    if not any("converted" in numbers for numbers in checkpoints.newest_numbers(folder)):
        warn_of_averages(experiment.average, checkpoints.step_of(checkpoint))
    console.result(f"{folder} is trained: {checkpoint}")
    history, advice = history_and_advice(experiment)
    for line in [*summary.lines(history), *([] if is_part else advice)]:
        console.say(line)
    if not is_part:
        console.emit("done", path=str(folder), checkpoint=str(checkpoint))
        console.say(f"Next: actloc eval {experiment.run_arguments}")
    return 0
