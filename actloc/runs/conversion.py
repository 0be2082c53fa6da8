"""Official ActionFormer checkpoints as runs, and runs as official checkpoints; weights and their averages only."""

from pathlib import Path
from typing import Any

import torch

from actloc import console, files
from actloc.datasets.base import read_prepared
from actloc.detectors.base import Detector
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.record import mark_finished, write_record
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import OfficialCheckpoint, official_content, read_official_checkpoint


def to_run(file: Path, folder: Path, experiment: Experiment) -> Path:
    """Makes the run `folder` of an official checkpoint and returns its checkpoint; raises UserError if it misfits.

    The run counts as finished: without an optimizer there is nothing to go on from.
    """
    _refuse_existing(folder)
    official = read_official_checkpoint(file)
    classes = read_prepared(experiment.dataset, experiment.arguments).classes
    in_channels = official.in_channels or 1  # without an embedding nothing fits, and all is listed
    network = _outline(experiment, in_channels, len(classes))
    check_fit(network, official.weights, file)
    check_fit(network, official.averaged, file)
    about = {
        "classes": list(classes),
        "in_channels": in_channels,
        "encoder_weights_sha256": None,
        "settings": experiment.shaping("weights"),
    }
    source = {"file": file.name, "sha256": files.sha256_of_file(file), "epoch": official.epoch}
    # an official file tells epochs, not optimizer steps: its epochs number the checkpoint
    numbers: dict[str, Any] = {"best": None, "learner": {}, "about": about, "converted": source}
    step = official.epoch or 0
    with files.locked(folder):
        write_record(experiment, folder)
        made = checkpoints.save(folder, Checkpoint(step, official.weights, official.averaged, {}, numbers))
        mark_finished(folder, step)
    return made


def to_official(source: Path, file: Path, experiment: Experiment | None) -> None:
    """Writes a run, by its newest checkpoint, or one checkpoint as an official file.

    Raises UserError where the detector is no ActionFormer, or is not the one of `experiment`, if that is given.
    """
    _refuse_existing(file)
    folder = source if (source / "manifest.json").is_file() else checkpoints.last(source)
    stored = checkpoints.load(folder)
    about = stored.numbers["about"]
    detector = about["settings"]["detector.name"]
    if detector != "actionformer":
        raise UserError(
            f"{folder} holds the weights of the detector {detector}.",
            "Expected actionformer: official ActionFormer reads its own weights only.",
            "Give a run of actionformer.",
        )
    if experiment is not None:
        network = _outline(experiment, about["in_channels"], len(about["classes"]))
        check_fit(network, stored.weights, folder)
    epoch = stored.numbers.get("converted", {}).get("epoch")
    files.write_bytes(file, official_content(OfficialCheckpoint(stored.weights, stored.averaged, epoch)))
    console.say("It holds weights and their averages, no optimizer: the official code evaluates it, and cannot resume.")


def _outline(experiment: Experiment, in_channels: int, num_classes: int) -> Detector:
    """The experiment's detector without memory for its weights: names and shapes only."""
    with torch.device("meta"):
        return experiment.detector.build(in_channels, num_classes, experiment.features.max_steps)


def _refuse_existing(target: Path) -> None:
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(
            f"{target} is there already.",
            "Expected a new file, or an empty or new folder.",
            "Name another TARGET, or delete this one.",
        )
