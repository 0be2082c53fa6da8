"""`actloc train CONFIG`: trains the networks of a task into a run folder, or resumes it; also under torchrun."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from actloc import console, files
from actloc.devices import choose_device
from actloc.errors import EnvironmentProblem, UserError
from actloc.experiment import Experiment, is_run, load, recorded_code
from actloc.runs import starting_weights
from actloc.runs.prepared import PreparedTraining
from actloc.runs.record import is_finished, mark_finished, remove_run, training_size, write_record
from actloc.runs.reuse import (
    keep_annotations,
    refuse_changed_annotations,
    refuse_changed_sources,
    report_edited_annotations,
    warn_of_averages,
    warn_of_changed_sources,
)
from actloc.runs.run_bank import starts_anew
from actloc.settings import code_files
from actloc.settings.sameness import differences
from actloc.signals import StopFlag
from actloc.store.filling import free_bytes
from actloc.tasks.base import task_of
from actloc.training import checkpoint as checkpoints
from actloc.training import modules, summary
from actloc.training.checkpoint import Checkpoint
from actloc.training.distributed import Processes, joined
from actloc.training.initialising import StartingWeights
from actloc.training.trainer import Trainer

_MOST_CHECKPOINTS = 4  # the best, the two newest, and the one that is being written
_OURS = ("environment.json", "eval", "report.html", "tables.md", "tables.csv")
"""Files that may be in a folder before its run: left by a kill at the very start, or by `eval --predictions`."""


def run(
    experiment: Experiment,
    *,
    resume: str | None = None,
    dry_run: bool = False,
    allow_changed_code: bool = False,
    overwrite: bool = False,
) -> int:
    """Trains to the end of the schedule; after a signal, saves everything and raises Stopped.

    `dry_run` reports the memory of a step and anything missing, and writes nothing. A run trained with the user's own
    code is resumed with changed code only if `allow_changed_code`.
    """
    with joined(choose_device(experiment.machine.device)) as processes:
        if dry_run:
            return processes.of_first(lambda: task_of(experiment).dry_run(experiment, processes.size))
        processes.of_first(lambda: _check_code(experiment, allow_changed_code or overwrite))
        return _run(experiment, resume, overwrite, processes)


def _run(experiment: Experiment, resume: str | None, overwrite: bool, processes: Processes) -> int:
    start, is_done = processes.of_first(lambda: _look_at_folder(experiment, resume, overwrite))
    if not is_done:
        with ExitStack() as held:
            # one lock for the job: a second lock in the same job would be refused
            processes.of_first(lambda: held.enter_context(files.locked(experiment.run_folder)))
            _train(experiment, start, overwrite, held.enter_context(StopFlag()), processes)
    return processes.of_first(lambda: _report_finished(experiment))


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
        raise UserError(
            f"{folder} exists and is not a run.",
            "Expected a run folder, or one that does not exist yet.",
            "Choose another with run.name=ANOTHER",
        )


def _train(experiment: Experiment, resume: Path | None, overwrite: bool, stop: StopFlag, processes: Processes) -> None:
    be_repeatable()
    file = experiment.dataset.annotations_file
    with ExitStack() as held:
        is_new = starts_anew(experiment, overwrite=overwrite)
        before = processes.of_first(lambda: files.read_bytes(file) if file.is_file() else b"")
        weights = _starting_weights(experiment) if is_new else None  # before anything takes time
        prepared = task_of(experiment).prepare_training(experiment, processes, held, is_new=is_new)
        if processes.of_first(lambda: files.read_bytes(file)) != before:
            raise UserError(
                f"{file} was changed while it was read.",
                "Expected annotations that stay as they are until training starts.",
                "Run the same command again.",
            )
        _run_trainer(prepared, before, resume, overwrite, weights, stop, processes)
        processes.of_first(lambda: report_edited_annotations(experiment, before))


def _starting_weights(experiment: Experiment) -> StartingWeights | None:
    return starting_weights.read(experiment, lambda file: task_of(experiment).official_weights(experiment, file))


def _run_trainer(
    prepared: PreparedTraining,
    annotations: bytes,
    resume: Path | None,
    overwrite: bool,
    weights: StartingWeights | None,
    stop: StopFlag,
    processes: Processes,
) -> None:
    experiment, learner = prepared.experiment, prepared.learner
    folder = experiment.run_folder
    prepared.report_start()
    # after every check: --overwrite empties the folder
    processes.of_first(lambda: _begin(prepared, annotations, overwrite))
    about = {
        **learner.about(),
        "settings": experiment.shaping("weights"),
        "annotations_sha256": files.sha256_of_bytes(annotations),
    }
    # before the frozen weights of the run are written again
    start = _start(folder, resume, about, prepared.must_stay, processes)
    _initialise(prepared, start, weights, processes)
    frozen = modules.frozen(learner.modules)
    about["frozen_sha256"] = processes.of_first(lambda: checkpoints.save_frozen(folder, frozen))
    trainer = Trainer(
        learner,
        folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=experiment.run.seed,
        num_workers=experiment.machine.num_workers,
        about=about,
        processes=processes,
    )
    warn_of_averages(experiment.average, trainer.num_steps)
    trainer.run(start, stop)
    processes.of_first(lambda: mark_finished(folder, trainer.step))


def _initialise(
    prepared: PreparedTraining, start: Checkpoint | None, weights: StartingWeights | None, processes: Processes
) -> None:
    """Gives a new run the weights that the settings name, and a resumed one those of them that do not learn."""
    experiment, learner = prepared.experiment, prepared.learner
    if experiment.training.initialise is None:
        return
    if start is not None:
        own = checkpoints.load_frozen(experiment.run_folder, start.numbers["about"].get("frozen_sha256"))
        modules.load(learner.modules, own)
        return
    weights = weights or _starting_weights(experiment)  # a run whose only checkpoints were damaged begins anew, too
    assert weights is not None, "the settings name some"
    result = starting_weights.apply(prepared, weights)
    processes.of_first(lambda: starting_weights.write_record(experiment.run_folder, weights, result))


def _begin(prepared: PreparedTraining, annotations: bytes, overwrite: bool) -> None:
    folder = prepared.experiment.run_folder
    _check_space(prepared, overwrite)
    if overwrite:
        if checkpoints.steps(folder):
            prepared.read_all()  # a trained run is not given up for features that cannot be read
        remove_run(folder)
    write_record(prepared.experiment, folder, prepared.network, prepared.size)
    keep_annotations(folder, annotations)
    prepared.write_record()


def _check_space(prepared: PreparedTraining, overwrite: bool) -> None:
    """Raises EnvironmentProblem where checkpoints will not fit: weights, their averages, and the optimizer's state."""
    experiment, folder = prepared.experiment, prepared.experiment.run_folder
    weights = sum(one.nbytes for one in modules.learning(prepared.learner.modules).values())
    kept = checkpoints.num_bytes(folder)
    needed = weights * (3 if experiment.optimizer.name == "sgd" else 4) * _MOST_CHECKPOINTS
    free = free_bytes(folder) + kept
    if needed > free:
        raise EnvironmentProblem(
            f"{folder} has {free / 1e9:.1f} GB for checkpoints.",
            f"{_MOST_CHECKPOINTS} checkpoints need about {needed / 1e9:.1f} GB.",
            "Free disk space, or set run.folder to a folder on another disk.",
        )


def be_repeatable() -> None:
    """The same seed gives the same bytes on a CPU; a GPU kernel without a deterministic form only warns."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS for deterministic results
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # absent from torch's stubs


def _start(
    folder: Path, resume: Path | None, about: dict[str, object], must_stay: Mapping[str, str], processes: Processes
) -> Checkpoint | None:
    # chosen once: a process must not start from a damaged checkpoint that another process sets aside
    chosen = processes.of_first(lambda: resume or checkpoints.newest_whole(folder))
    if chosen is None:
        return None
    start = checkpoints.load(chosen)
    if "converted" in start.numbers:
        raise UserError(
            f"{chosen} was converted from an official checkpoint: it has weights, but no optimizer state.",
            "Expected a checkpoint that `actloc train` wrote.",
            f"Score it: actloc eval {folder}; or train a new run with run.name=ANOTHER",
        )
    for key, words in must_stay.items():
        if start.numbers["about"].get(key) != about[key]:
            raise UserError(
                f"The {words} have changed since {folder} started training.",
                "A run can only be resumed with those it was trained with.",
                "Train another run with run.name=ANOTHER, or replace this one with --overwrite.",
            )
    console.say(f"Resuming after step {start.step}")
    return start


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


def _report_finished(experiment: Experiment) -> int:
    folder = experiment.run_folder
    checkpoint = checkpoints.last(folder)
    if not any("converted" in numbers for numbers in checkpoints.newest_numbers(folder)):
        warn_of_averages(experiment.average, checkpoints.step_of(checkpoint))
    console.result(f"{folder} is trained: {checkpoint}")
    _report_loss(experiment)
    console.emit("done", path=str(folder), checkpoint=str(checkpoint))
    console.say(f"Next: actloc eval {experiment.run_arguments}")
    return 0


def _report_loss(experiment: Experiment) -> None:
    """Prints how long training took, how far the loss fell, and what to do if that is not far enough."""
    folder = experiment.run_folder
    found = summary.history(files.read_json_lines(folder / "log.jsonl", skip_damaged=True))
    schedule = experiment.schedule
    name = "epochs" if schedule.stop_after_epochs is None else "stop_after_epochs"
    advice = summary.advice(
        found,
        longer=f"schedule.{name}={2 * getattr(schedule, name)}",
        learning_rate=experiment.optimizer.learning_rate,
        size=training_size(folder),
    )
    for line in [*summary.lines(found), *advice]:
        console.say(line)
