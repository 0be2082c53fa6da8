"""Reads official checkpoints as an experiment needs them: of its detector, and of its encoder if that was trained."""

from pathlib import Path

import torch
from torch import Tensor

from actloc import console
from actloc.experiment import Experiment
from actloc.training.modules import DETECTOR, ENCODER
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import OfficialCheckpoint, read_official_checkpoint
from actloc.weights.official_afsd import read_official_afsd
from actloc.weights.official_bmn import read_official_bmn
from actloc.weights.official_etad import read_official_etad
from actloc.weights.official_tadtr import read_official_tadtr
from actloc.weights.official_tallformer import read_official_tallformer

_READERS = {
    "afsd": read_official_afsd,
    "bmn": read_official_bmn,
    "etad": read_official_etad,
    "tadtr": read_official_tadtr,
    "tallformer": read_official_tallformer,
}
"""By detector; all others have ActionFormer's files."""


def read_official(experiment: Experiment, file: Path) -> OfficialCheckpoint:
    """The official checkpoint of the experiment's detector; raises UserError if it is another file."""
    return _READERS.get(experiment.detector.name, read_official_checkpoint)(file)


def starting_weights(experiment: Experiment, file: Path) -> dict[str, Tensor]:
    """All weights of an official checkpoint that the experiment has networks for, named as in `training.modules`."""
    stored = read_official(experiment, file)
    detector = stored.averaged if experiment.evaluation.weights == "averaged" else stored.weights
    named = {f"{DETECTOR}/{name}": tensor for name, tensor in detector.items()}
    return named | {f"{ENCODER}/{name}": one for name, one in encoder_weights(experiment, stored, file).items()}


def encoder_weights(experiment: Experiment, official: OfficialCheckpoint, file: Path) -> dict[str, Tensor]:
    """The file's weights for the experiment's encoder, under its own names; none if the file has no encoder, or if the
    features are stored. Raises UserError if they do not fit."""
    if not official.encoder:
        return {}
    config = experiment.features.encoder
    if config is None or not experiment.features.trains_encoder:
        console.say(f"The encoder in {file} is not used: features.name={experiment.features.name} reads features")
        return {}
    weights = config.in_our_names(official.encoder)
    with torch.device("meta"):
        network = config.network_for(weights)
    check_fit(network, weights, file, "Set `features.encoder:` to the settings of the training.")
    return weights
