"""The training of a run, after every check of its settings and of its folder."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from actloc import console, files
from actloc.errors import EnvironmentProblem, UserError
from actloc.experiment import Experiment
from actloc.runs import starting_weights
from actloc.runs.prepared import PreparedTraining
from actloc.runs.record import mark_finished, remove_run, write_record
from actloc.runs.reuse import keep_annotations, warn_of_averages
from actloc.signals import StopFlag
from actloc.store.filling import free_bytes
from actloc.tasks.base import task_of
from actloc.training import checkpoint as checkpoints
from actloc.training import modules
from actloc.training.checkpoint import Checkpoint
from actloc.training.distributed import Processes
from actloc.training.initialising import StartingWeights

_MOST_CHECKPOINTS = 4  # the best, the two newest, and the one that is being written


def starting_weights_of(experiment: Experiment) -> StartingWeights | None:
    """The weights that the settings name; None if they name none."""
    return starting_weights.read(experiment, lambda file: task_of(experiment).official_weights(experiment, file))


def run_trainer(
    prepared: PreparedTraining,
    annotations: bytes,
    resume: Path | None,
    overwrite: bool,
    weights: StartingWeights | None,
    stop: StopFlag,
    processes: Processes,
) -> None:
    """Trains from the checkpoint to resume from, or from the start, to the end of the schedule.

    `annotations` are kept with the run; a new one starts from `weights`, if there are some.
    """
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
    trainer = prepared.trainer(folder, about, processes)
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
    weights = weights or starting_weights_of(experiment)  # a run whose only checkpoints were damaged begins anew, too
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
            f"{folder} has {console.size(free)} for checkpoints.",
            f"{_MOST_CHECKPOINTS} checkpoints need about {console.size(needed)}.",
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
