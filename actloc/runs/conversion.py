"""Converts official checkpoints to runs, and those of ActionFormer's form back: weights and averaged weights only."""

from pathlib import Path
from typing import Any

import torch

from actloc import console, files
from actloc.datasets.base import read_prepared
from actloc.detectors.base_network import Detector
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.official import encoder_weights, read_official
from actloc.runs.record import mark_finished, write_record
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.training.modules import DETECTOR, ENCODER, of_module
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import official_content

_WRITTEN = ("actionformer", "tridet", "dyfadet")
"""Detectors whose official files have the form of ActionFormer's, and are written in it."""


def to_run(file: Path, folder: Path, experiment: Experiment) -> Path:
    """Makes the run `folder` from an official checkpoint; returns its checkpoint. Raises UserError if it does not fit.

    The run counts as finished: without an optimizer's state it cannot be resumed.
    """
    refuse_existing(folder)
    official = read_official(experiment, file)
    if experiment.features.trains_encoder and not official.encoder:
        raise UserError(
            f"{file} has weights of a detector only.",
            f"Expected those of an encoder too: features.name={experiment.features.name} makes a run that has one.",
            "Extract the features first, and read them: features.name=stored",
        )
    classes = read_prepared(experiment.dataset, experiment.arguments).classes
    in_channels = official.in_channels or 1  # without an embedding nothing fits, and the error lists everything
    network = _outline(experiment, in_channels, len(classes))
    check_fit(network, official.weights, file)
    check_fit(network, official.averaged, file)
    encoder = {f"{ENCODER}/{name}": tensor for name, tensor in encoder_weights(experiment, official, file).items()}
    about = {
        "classes": list(classes),
        "in_channels": in_channels,
        "encoder_weights_sha256": None,
        "settings": experiment.shaping("weights"),
    }
    source = {"file": file.name, "sha256": files.sha256_of_file(file), "epoch": official.epoch}
    # an official file has its epoch, not its optimizer steps: the epoch numbers the checkpoint
    numbers: dict[str, Any] = {"best": None, "learner": {}, "about": about, "converted": source}
    step = official.epoch or 0
    with files.whole_folder(folder) as made:
        write_record(experiment, made, experiment.detector.name, {})
        weights = encoder | {f"{DETECTOR}/{name}": tensor for name, tensor in official.weights.items()}
        averaged = encoder | {f"{DETECTOR}/{name}": tensor for name, tensor in official.averaged.items()}
        checkpoint = checkpoints.save(made, Checkpoint(step, weights, averaged, {}, numbers))
        mark_finished(made, step)
    return folder / checkpoint.name


def to_official(source: Path, file: Path, experiment: Experiment | None) -> None:
    """Writes the checkpoint in the folder `source` as an official file.

    Raises UserError if the detector's official files cannot be written, or if it does not fit `experiment`, if given.
    """
    refuse_existing(file)
    stored = checkpoints.load(source)
    about = stored.numbers["about"]
    detector = about["settings"]["detector.name"]
    if detector not in _WRITTEN:
        raise UserError(
            f"{source} has weights of the detector {detector}.",
            f"Expected {' or '.join(_WRITTEN)}, the detectors whose official files can be written.",
            f"Name a run with the detector {' or '.join(_WRITTEN)}.",
        )
    if experiment is not None:
        network = _outline(experiment, about["in_channels"], len(about["classes"]))
        check_fit(network, of_module(stored.weights, DETECTOR), source)
    weights = of_module(stored.weights, DETECTOR), of_module(stored.averaged, DETECTOR)
    epoch = stored.numbers.get("converted", {}).get("epoch")
    files.write_bytes(file, official_content(*weights, epoch))
    console.say(
        "The file has weights and averaged weights, but no optimizer state: the official code can only evaluate it."
    )


def _outline(experiment: Experiment, in_channels: int, num_classes: int) -> Detector:
    """The experiment's detector without memory for its weights, for their names and shapes."""
    with torch.device("meta"):
        return experiment.detector.build(in_channels, num_classes, experiment.features.max_steps)


def refuse_existing(target: Path) -> None:
    """Raises UserError for a target that would be overwritten."""
    if (target.exists() or target.is_symlink()) and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(
            f"{target} already exists.",
            "Expected a new file, or an empty or new folder.",
            "Name another TARGET, or delete this one.",
        )
