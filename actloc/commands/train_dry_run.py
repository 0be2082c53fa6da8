"""`actloc train CONFIG --dry-run`: the memory that a training step needs, and anything missing; writes nothing."""

from contextlib import ExitStack
from dataclasses import asdict

import torch
from rich.table import Table

from actloc import console
from actloc.annotations.model import Annotations
from actloc.datasets.base import for_training, read_prepared
from actloc.devices import choose_device
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.run_bank import give_bank, starts_anew
from actloc.runs.trained import new_live_encoder, new_localizer
from actloc.runs.training_memory import TrainingMemory, megabytes, training_memory
from actloc.settings import own_code
from actloc.sources.base import Source
from actloc.tasks.localization import LocalizationLearner

_PARTS = {
    "weights": "weights",
    "averages": "averaged weights",
    "optimizer": "optimizer state",
    "gradients": "gradients",
    "detector": "detector: features, activations",
    "encoder": "encoder: activations",
    "frames": "frames of one call of the encoder",
}
"""The parts of `StepBytes`, in words."""


def run(experiment: Experiment, num_processes: int) -> int:
    """Reports the memory of each process, and anything missing, with exit status 2."""
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    missing: list[str] = []
    with ExitStack() as held:
        try:
            memory = _memory(experiment, annotations, missing, held, num_processes)
        except UserError as error:
            memory = None
            if not any(problem.startswith(error.found) for problem in missing):  # else tried a second time
                missing.append(_message(experiment, error))
    if memory is not None:
        _report(experiment, memory)
    for problem in missing:
        console.result(f"Missing: {problem}")
    values = {} if memory is None else {"bytes": asdict(memory.step), "advice": memory.advice}
    console.emit("plan", **values, missing=missing)
    return UserError.status if missing else 0


def _memory(
    experiment: Experiment, annotations: Annotations, missing: list[str], held: ExitStack, num_processes: int
) -> TrainingMemory:
    live = _live_encoder(experiment, missing)
    if live is not None:
        held.callback(live.close)
    used = for_training(experiment.dataset, annotations)
    source = _source(experiment, used, experiment.dataset.training_subset, live, missing)
    if starts_anew(experiment, overwrite=False):
        try:
            give_bank(experiment, source, is_new=True)
        except UserError as error:
            missing.append(_message(experiment, error))
    if experiment.training.validation_subset:
        _source(experiment, annotations, experiment.training.validation_subset, live, missing)
    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    learner = LocalizationLearner(localizer, source, annotations, lambda _: 0.0)
    return training_memory(experiment, learner, num_processes)


def _live_encoder(experiment: Experiment, missing: list[str]) -> LiveEncoder | None:
    """The encoder, with random weights where its own ones are missing: they need the same memory."""
    try:
        return new_live_encoder(experiment)
    except UserError as error:
        missing.append(_message(experiment, error))
    assert experiment.features.encoder is not None, "it could not be built"
    return new_live_encoder(experiment, experiment.features.encoder.network().state_dict())


def _source(
    experiment: Experiment, annotations: Annotations, subset: str, live: LiveEncoder | None, missing: list[str]
) -> Source:
    """The subset's features, without those that are missing."""
    try:
        return experiment.features.build(annotations, subset, live)
    except UserError as error:
        missing.append(_message(experiment, error))
    without = experiment.features.model_copy(update={"allow_missing": True, "allow_misfits": True})
    return without.build(annotations, subset, live)


def _message(experiment: Experiment, error: UserError) -> str:
    error.name_config(experiment.typed, [*experiment.overrides, *own_code.options()])
    return str(error)


def _report(experiment: Experiment, memory: TrainingMemory) -> None:
    step = asdict(memory.step)
    table = Table("memory of the largest training step", "MB", box=None)
    table.columns[1].justify = "right"
    for name, words in _PARTS.items():
        if step[name]:
            table.add_row(words, megabytes(step[name]))
    table.add_row("at most at the same time", megabytes(memory.step.peak), style="bold")
    console.result_table(table)
    console.result(f"It is largest {memory.step.moment}. MB are 2^20 bytes of tensors.")
    console.result(memory.advice)
    device = choose_device(experiment.machine.device)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device).total_memory
        console.result(f"The GPU has {megabytes(card)} MB; torch's own libraries take some hundred of them.")
