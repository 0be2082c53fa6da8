"""`train --dry-run` of a detector: the memory that a training step needs, and anything missing; writes nothing."""

from contextlib import ExitStack
from dataclasses import asdict

import torch
from rich.table import Table

from actloc import console
from actloc.annotations.model import Annotations
from actloc.datasets.base import for_training, read_prepared, with_actions
from actloc.devices import choose_device
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.localization.checks import check_actions, check_annotated
from actloc.runs.localizer import LocalizationLearner
from actloc.runs.memory_budget import Fitted, within_budget
from actloc.runs.reuse import starts_anew
from actloc.runs.run_bank import give_bank
from actloc.runs.trained import new_live_encoder, new_localizer
from actloc.runs.training_memory import TrainingMemory, megabytes, training_memory
from actloc.settings import own_code
from actloc.sources.base_source import Source

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


def dry_run(experiment: Experiment, num_processes: int) -> int:
    """Reports the memory of each process, and anything missing, with exit status 2."""
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    missing: list[str] = []
    memory = too_large = None
    with ExitStack() as held:
        try:
            learner = _learner(experiment, annotations, missing, held)
            is_new = starts_anew(experiment, overwrite=False)
            try:
                fitted = within_budget(experiment, learner, num_processes, is_new=is_new)
            except UserError as error:
                fitted, too_large = Fitted(experiment), error
            memory = training_memory(fitted.experiment, learner, num_processes)
        except UserError as error:
            if not any(problem.startswith(error.found) for problem in missing):  # else tried a second time
                missing.append(_message(experiment, error))
    if memory is not None:
        _report(fitted, memory)
    for problem in missing:
        console.result(f"Missing: {problem}")
    values = {} if memory is None else {"bytes": asdict(memory.step), "advice": memory.advice, **fitted.chosen}
    console.emit("plan", **values, missing=missing)
    if too_large is not None:
        raise too_large
    return UserError.status if missing else 0


def _learner(
    experiment: Experiment, annotations: Annotations, missing: list[str], held: ExitStack
) -> LocalizationLearner:
    """The learner of the training videos that can be used."""
    live = _live_encoder(experiment, missing)
    if live is not None:
        held.callback(live.close)
    used = with_actions(experiment.dataset, for_training(experiment.dataset, annotations))
    source = _source(experiment, used, experiment.dataset.training_subset, live, missing)
    try:
        check_actions(annotations, source, experiment.dataset.training_subset, experiment.dataset.evaluation_subset)
        check_annotated(experiment.detector, source)
    except UserError as error:
        missing.append(_message(experiment, error))
    if starts_anew(experiment, overwrite=False):
        try:
            give_bank(experiment, source, is_new=True)
        except UserError as error:
            missing.append(_message(experiment, error))
    if experiment.training.validation_subset:
        _source(experiment, annotations, experiment.training.validation_subset, live, missing)
    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    return LocalizationLearner(localizer, source, annotations, lambda _: {})


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


def _report(fitted: Fitted, memory: TrainingMemory) -> None:
    if fitted.line:
        console.result(fitted.line)
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
    device = choose_device(fitted.experiment.machine.device)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device).total_memory
        console.result(f"The GPU has {megabytes(card)} MB; torch's own libraries take some hundred of them.")
