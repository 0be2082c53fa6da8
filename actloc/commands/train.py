"""`actloc train CONFIG`: trains a detector into a run folder, going on where it stopped."""

from pathlib import Path

import torch

from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import Experiment, differences, load
from actloc.signals import StopFlag
from actloc.tasks import scoring
from actloc.tasks.localization import LocalizationLearner, read_annotations
from actloc.tasks.records import is_finished, mark_finished, write_record
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.training.trainer import Trainer


def run(experiment: Experiment, *, resume: str | None = None, overwrite: bool = False) -> int:
    """Trains to the end of the schedule; raises Stopped once all is saved when a signal asks for it."""
    folder = experiment.run_folder
    if resume is not None:
        resume = str(checkpoints.named(folder, resume))
    if not overwrite:
        _refuse_other_settings(experiment)
        if is_finished(folder):
            return _tell_finished(experiment)
    with files.locked(folder), StopFlag() as stop:
        if overwrite:
            _empty(folder)
        _train(experiment, resume, stop)
    return _tell_finished(experiment)


def _train(experiment: Experiment, resume: str | None, stop: StopFlag) -> None:
    folder = experiment.run_folder
    annotations = read_annotations(experiment)
    torch.use_deterministic_algorithms(True)
    learner = LocalizationLearner(experiment, annotations, scoring.average_map(experiment))
    _tell_start(experiment, learner)
    write_record(experiment, folder)
    trainer = Trainer(
        learner,
        folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=experiment.run.seed,
        num_workers=experiment.machine.num_workers,
        about=learner.about(),
    )
    trainer.run(_start(folder, resume), stop)
    mark_finished(folder, trainer.step)


def _start(folder: Path, resume: str | None) -> Checkpoint | None:
    if resume is None:
        start = checkpoints.load_newest(folder)
    else:
        start = checkpoints.load(Path(resume))
        checkpoints.forget_after(folder, start.step)
    if start is not None:
        console.say(f"Going on after step {start.step}")
    return start


def _refuse_other_settings(experiment: Experiment) -> None:
    """A run goes on only with the settings its weights were trained with."""
    recorded = experiment.run_folder / "config.yaml"
    if not recorded.is_file():
        return
    # loaded with today's defaults: a setting that the run did not know yet is no difference
    differing = differences(load(str(recorded)).to_data(), experiment.to_data())
    if differing:
        listed = "\n  ".join(differing)
        raise UserError(
            f"{experiment.run_folder} was trained with other settings:\n  {listed}",
            "A run goes on only with its own.",
            "Start another run with run.name=ANOTHER, or replace this one with --overwrite.",
        )


def _tell_finished(experiment: Experiment) -> int:
    folder = experiment.run_folder
    checkpoint = checkpoints.last(folder)
    console.result(f"{folder} is trained: {checkpoint}")
    console.emit("done", path=str(folder), checkpoint=str(checkpoint))
    console.say(f"Next: actloc eval {folder}")
    return 0


def _tell_start(experiment: Experiment, learner: LocalizationLearner) -> None:
    source = learner.source
    actions = sum(len(video.actions) for video in source.videos)
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    console.say(
        f"{len(source.videos)} videos with {actions} actions of {len(learner.annotations.classes)} classes; "
        f"{experiment.detector.name} with {parameters / 1e6:.2f} M parameters on {learner.device}"
    )
    background = [video.id for video in source.videos if not video.actions]
    if background:
        console.say(f"{len(background)} of them without actions train as background: {_names(background)}")
    if source.missing:
        missing = [video.id for video in source.missing]
        console.warn(f"{len(missing)} videos have no features and are left out: {_names(missing)}", ids=missing)


def _names(ids: list[str]) -> str:
    return ", ".join(ids[:10]) + (", ..." if len(ids) > 10 else "")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != files.LOCK_NAME:
            files.remove(path)
