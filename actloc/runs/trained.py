"""The trained detector of a run or of an official checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from actloc import console
from actloc.devices import choose_device, refuse_float16_on_cpu, warn_of_slow_bfloat16
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError
from actloc.evaluation.results import TrainedRun
from actloc.experiment import Experiment, recorded_code
from actloc.runs import chosen_checkpoint
from actloc.runs.localizer import Localizer, build_detector
from actloc.runs.official import encoder_weights, read_official
from actloc.runs.reuse import state_of
from actloc.settings import code_files
from actloc.training import checkpoint as checkpoints
from actloc.training.modules import DETECTOR, ENCODER, of_module
from actloc.weights.files import check_fit


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with the weights of a checkpoint, and what the checkpoint records about it."""

    localizer: Localizer
    live: LiveEncoder | None
    """The run's own encoder, which was trained with the detector; None if its features were made before."""
    classes: tuple[str, ...]
    in_channels: int
    encoder_weights_sha256: str | None
    checkpoint: str
    names_encoder: bool
    """Whether the settings that it was trained with name the encoder of its features."""
    run: TrainedRun | None = None
    """How far the run was trained; None for an official checkpoint."""

    def close(self) -> None:
        """Ends the processes that read clips, if there are any."""
        if self.live is not None:
            self.live.close()


def load_trained(experiment: Experiment) -> TrainedDetector:
    """The run's detector with the weights that the settings choose; raises UserError if there are none."""
    foreign = experiment.evaluation.weights_file
    if foreign is not None:
        raise UserError(
            f"evaluation.weights_file is {foreign}, which records neither its classes nor its encoder.",
            "Expected a run; only `eval` takes the file as it is.",
            f"Make a run of it: actloc convert {foreign} ckpt/NAME {experiment.arguments}",
        )
    stored = checkpoints.load(chosen_checkpoint.folder_of(experiment))
    changed = code_files.changes(recorded_code(experiment.run_folder))
    if changed:
        console.warn(f"{experiment.run_folder} was trained with other code than this: {'; '.join(changed)}")
    about = stored.numbers["about"]
    chosen_checkpoint.refuse_other_settings(experiment, about["settings"])
    folder = checkpoints.folder_of(experiment.run_folder, stored.step)
    classes, in_channels = tuple(about["classes"]), about["in_channels"]
    frozen = checkpoints.load_frozen(experiment.run_folder, about.get("frozen_sha256"))
    tensors = frozen | (stored.averaged if experiment.evaluation.weights == "averaged" else stored.weights)
    localizer = _with_weights(experiment, in_channels, len(classes), of_module(tensors, DETECTOR), folder)
    live = new_live_encoder(experiment, of_module(tensors, ENCODER))
    if live is not None:
        live.encoder.weights_sha256 = about["encoder_weights_sha256"]
    names_encoder = "features.encoder.name" in about["settings"]
    weights_sha256 = about["encoder_weights_sha256"]
    run = state_of(experiment, stored)
    return TrainedDetector(localizer, live, classes, in_channels, weights_sha256, folder.name, names_encoder, run)


def load_official(experiment: Experiment, file: Path, classes: tuple[str, ...]) -> TrainedDetector:
    """The experiment's detector, and its encoder if the file has one, with the weights of an official checkpoint.

    Raises UserError if they do not fit.
    """
    if experiment.detector.class_settings and len(classes) > 1:
        raise UserError(
            f"The annotations have {len(classes)} classes, and {file} has no classifier of segments.",
            f"Expected one class: official files of {experiment.detector.name} find actions without their classes.",
            "Set dataset.class_agnostic=true; fusion.scores=FILE then names the class scores of another classifier.",
        )
    stored = read_official(experiment, file)
    in_channels = stored.in_channels or 1  # without an embedding nothing fits, and the error lists everything
    weights = stored.averaged if experiment.evaluation.weights == "averaged" else stored.weights
    localizer = _with_weights(experiment, in_channels, len(classes), weights, file)
    live = new_live_encoder(experiment, encoder_weights(experiment, stored, file) or None)
    return TrainedDetector(localizer, live, classes, in_channels, None, file.name, names_encoder=False)


def new_live_encoder(experiment: Experiment, weights: Mapping[str, Tensor] | None = None) -> LiveEncoder | None:
    """The experiment's encoder with these weights, or its own, if it makes the features in every step."""
    device = choose_device(experiment.machine.device)
    return experiment.features.live_encoder(device, experiment.machine, experiment.training.precision, weights)


def new_localizer(experiment: Experiment, in_channels: int, num_classes: int) -> Localizer:
    """The experiment's detector with initial weights, and the settings that it runs with."""
    device = choose_device(experiment.machine.device)
    precision = experiment.training.precision
    refuse_float16_on_cpu(precision, device)
    warn_of_slow_bfloat16(precision, device, "training.precision")
    max_steps, seed = experiment.features.max_steps, experiment.run.seed
    detector = build_detector(experiment.detector, in_channels, num_classes, max_steps, seed=seed, device=device)
    return Localizer(detector, device, precision, experiment.suppression, max_steps)


def _with_weights(
    experiment: Experiment, in_channels: int, num_classes: int, weights: dict[str, Tensor], source: Path
) -> Localizer:
    localizer = new_localizer(experiment, in_channels, num_classes)
    check_fit(localizer.detector, weights, source)
    localizer.detector.load_state_dict(weights)
    localizer.detector.eval()
    return localizer
