"""The encoder that made the stored features of a run, to make those of new videos."""

from actloc import console
from actloc.devices import choose_device, warn_of_slow_bfloat16
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, ready
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.trained import TrainedDetector
from actloc.sources import folders


def stored_encoder(experiment: Experiment, trained: TrainedDetector) -> ClipEncoder:
    """The encoder that made the features which the run was trained on; raises UserError where it is another one."""
    config = experiment.features.encoder
    if config is None:
        raise UserError(
            f"{experiment.file} has no features.encoder: the run was trained on features made elsewhere.",
            "Expected an encoder, to turn videos into features.",
            "Name the encoder that made the features: --set features.encoder.name=NAME, with its other settings; "
            "actloc ls encoders lists them",
        )
    device = choose_device(experiment.machine.device)
    warn_of_slow_bfloat16(config.precision, device, "features.encoder.precision")
    encoder = ready(built(config), device)
    trained_with = trained.encoder_weights_sha256
    if encoder.channels != trained.in_channels:
        raise UserError(
            f"The encoder {config.name} gives {console.count(encoder.channels, 'channel')}.",
            f"{trained.checkpoint} was trained on features with {trained.in_channels}.",
            "Name the encoder that made the run's features, with its settings: --set features.encoder.name=NAME",
        )
    is_known = trained.names_encoder and experiment.features.made_from_videos
    if trained_with is None and not (is_known and encoder.weights_sha256 is None):
        _check_foreign(experiment, config)
    elif trained_with != encoder.weights_sha256:
        raise UserError(
            f"The encoder's weights have sha256 {encoder.weights_sha256}.",
            f"Expected those that made the run's features, with sha256 {trained_with}.",
            "Use those weights; if they are in a file: --set features.encoder.weights=FILE",
        )
    return encoder


def _check_foreign(experiment: Experiment, config: EncoderConfig) -> None:
    """Warns that nothing proves the encoder; raises UserError if it cannot give features like the run's."""
    features = experiment.features
    if isinstance(features, folders.Config) and features.is_resized and features.resize_to is None:
        raise UserError(
            f"{experiment.file} has features.is_resized=true: its features were resized elsewhere.",
            "Expected features at a constant number of frames, or features.resize_to.",
            "Train on features that are not resized, or resize them in training: features.resize_to=STEPS",
        )
    console.warn(
        f"The run's features were made elsewhere, so it cannot be proved that {config.name} makes the same: with "
        "another encoder, other weights or other frames, what is found means nothing"
    )
