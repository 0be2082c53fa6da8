"""`actloc train CONFIG --check`: two steps, a validation and a checkpoint on a few videos; nothing of it stays."""

import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.commands.training_run import be_repeatable
from actloc.datasets.base import read_prepared
from actloc.experiment import Experiment
from actloc.runs import starting_weights
from actloc.runs.prepared import PreparedTraining
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of
from actloc.training.distributed import Processes
from actloc.training.log import RunLog

_STEPS, _VIDEOS, _CHECKPOINTS = 2, 4, 3
"""Steps to take, videos to validate on, and checkpoints that a run keeps: the best and the two newest."""


@dataclass(frozen=True)
class _Measured:
    """What the parts of a run take."""

    first_step_s: float
    step_s: float
    """Of a step after the first, if there is one."""
    validation_s: float
    """Of all videos to validate on; 0 without one."""
    checkpoint_s: float
    checkpoint_bytes: int
    memory_bytes: int
    num_steps: int
    num_epochs: int


def run(experiment: Experiment, processes: Processes) -> int:
    """Checks everything that training checks, trains in a temporary folder, and reports time and memory."""
    task = task_of(experiment)
    be_repeatable()
    with stopping_at_once(is_saved=False), ExitStack() as held:
        folder = Path(
            processes.of_first(lambda: held.enter_context(tempfile.TemporaryDirectory(prefix="actloc-check-")))
        )
        task.check_training(experiment, read_prepared(experiment.dataset, experiment.arguments))
        subset = experiment.training.validation_subset or experiment.dataset.evaluation_subset
        annotations = annotation_form.read(experiment.dataset.annotations_file)
        few = _few(annotations, experiment.dataset.training_subset, subset)
        there = _in_folder(experiment, folder, subset if few else None)
        others = {key: video for key, video in annotations.videos.items() if video not in annotations.of_subset(subset)}
        shown = replace(annotations, videos={**others, **{video.id: video for video in few}}) if few else annotations
        processes.of_first(lambda: annotation_form.write(there.dataset.annotations_file, shown))
        weights = starting_weights.read(there, lambda file: task.official_weights(there, file))
        shown = read_prepared(there.dataset, experiment.arguments)
        prepared = task.prepare_training(there, shown, processes, held, is_new=True)
        if weights is not None:
            starting_weights.apply(prepared, weights)
        prepared.report_start()
        share = _length(annotations.of_subset(subset)) / _length(few) if few else 0.0
        measured = _measured(prepared, there.run_folder, processes, share)
    return processes.of_first(lambda: _report(experiment, measured, len(annotations.of_subset(subset)), len(few)))


def _few(annotations: Annotations, training: str, subset: str) -> list[AnnotatedVideo]:
    """Some videos of all lengths, the longest too; all of them where the subset is also trained on."""
    every = annotations.of_subset(subset)
    if subset.lower() == training.lower():
        return every
    learned = {action.label for video in annotations.of_subset(training) for action in video.actions}
    known = [video for video in every if any(action.label in learned for action in video.actions)] or every
    by_length = sorted(known, key=lambda video: video.duration_s or 0.0)
    places = {round(number * (len(by_length) - 1) / (_VIDEOS - 1)) for number in range(_VIDEOS)} if by_length else ()
    return [by_length[place] for place in sorted(places)]


def _length(videos: Sequence[AnnotatedVideo]) -> float:
    """Seconds of video, or videos where their lengths are not known."""
    known = [video.duration_s for video in videos if video.duration_s]
    return sum(known) if len(known) == len(videos) else float(len(videos))


def _in_folder(experiment: Experiment, folder: Path, validation: str | None) -> Experiment:
    """The experiment with its run and its annotations in `folder`."""
    dataset = experiment.dataset.model_copy(update={"folder": folder / "prepared"})
    (folder / "prepared").mkdir(exist_ok=True)
    training = experiment.training.model_copy(update={"validation_subset": validation})
    run_settings = experiment.run.model_copy(update={"folder": folder, "name": "run"})
    changed = experiment.with_section("dataset", dataset).with_section("training", training)
    return changed.with_section("run", run_settings)


def _measured(prepared: PreparedTraining, folder: Path, processes: Processes, share: float) -> _Measured:
    """`share` is that of all videos to validate on in those that are there."""
    learner = prepared.learner
    processes.of_first(lambda: folder.mkdir(exist_ok=True))
    trainer = prepared.trainer(folder, learner.about(), processes)
    per_epoch = trainer.loader.steps_per_epoch
    learner.begin()
    times = [time.monotonic()]
    with RunLog(folder, 0, per_epoch, writes=processes.is_first) as log:
        for batches in trainer.loader.batches(0, min(_STEPS, trainer.num_steps)):
            log.write("step", trainer.step, trainer.train_step(batches))
            times.append(time.monotonic())
        if share:
            learner.validate(trainer.averages.state_dict())
        times.append(time.monotonic())
        checkpoint = trainer.save(log)
    steps_s = [after - before for before, after in itertools.pairwise(times[:-1])]
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    device = trainer.parameters[0].device
    return _Measured(
        steps_s[0],
        steps_s[-1],
        (times[-1] - times[-2]) * share,
        time.monotonic() - times[-1],
        size,
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _most_resident(),
        trainer.num_steps,
        -(-trainer.num_steps // per_epoch),
    )


def _most_resident() -> int:
    """The most bytes that this process had in memory; the system counts kilobytes, but on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _report(experiment: Experiment, measured: _Measured, num_videos: int, num_few: int) -> int:
    training = experiment.training
    validates = measured.num_epochs // training.validate_every_epochs if training.validation_subset else 0
    saves = -(-measured.num_epochs // training.checkpoint_every_epochs)
    steps_s = measured.first_step_s + measured.step_s * (measured.num_steps - 1)
    whole_s = steps_s + validates * measured.validation_s + saves * measured.checkpoint_s
    steps = console.count(measured.num_steps, "step")
    table = Table("part", "one", "the whole run", box=None)
    table.add_row(f"{steps} of {measured.num_epochs} epochs", _duration(measured.step_s), _duration(steps_s))
    if num_few:
        what = f"validation on {console.count(num_videos, 'video')} (measured on {num_few})"
        times = _duration(validates * measured.validation_s) if validates else "once, by eval"
        table.add_row(what, _duration(measured.validation_s), times)
    kept = measured.checkpoint_bytes * _CHECKPOINTS
    table.add_row("checkpoints", _size(measured.checkpoint_bytes), f"{_size(kept)} are kept")
    table.add_row("memory, at most so far", "", _size(measured.memory_bytes))
    table.add_row("time of training", "", _duration(whole_s), style="bold")
    console.result_table(table)
    console.say("Nothing was kept; actloc train without --check trains")
    console.emit(
        "check",
        steps=measured.num_steps,
        seconds_per_step=measured.step_s,
        validation_s=measured.validation_s if num_few else None,
        checkpoint_bytes=measured.checkpoint_bytes,
        memory_bytes=measured.memory_bytes,
        training_s=whole_s,
    )
    return 0


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
