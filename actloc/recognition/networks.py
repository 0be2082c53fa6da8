"""Recognisers of a run: new ones to train, trained ones, and those of official checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import torch

from actloc import console, files
from actloc.devices import choose_device, refuse_float16_on_cpu, warn_of_slow_bfloat16
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, ready
from actloc.errors import UserError
from actloc.evaluation.results import TrainedRun
from actloc.experiment import Experiment, recorded_code
from actloc.recognition.clips import ClipSource
from actloc.recognition.recognizer import Recognizer, new_classifier, published_classifier, restored
from actloc.recognition.scorer import Scorer
from actloc.recognition.settings import (
    ClipSettings,
    NetworkSettings,
    RecognitionEvaluationSettings,
    RecognitionPredictionSettings,
    TokenLabelSettings,
)
from actloc.recognition.views import Views
from actloc.runs import chosen_checkpoint
from actloc.runs.reuse import state_of
from actloc.settings import code_files
from actloc.training import checkpoint as checkpoints
from actloc.video.clip_reader import ClipReader

_GPU_BATCH = 32


@dataclass(frozen=True)
class RecognitionSections:
    """The sections of a recognition experiment that other tasks do not have."""

    network: NetworkSettings
    clips: ClipSettings
    token_labels: TokenLabelSettings
    evaluation: RecognitionEvaluationSettings
    prediction: RecognitionPredictionSettings

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder's settings."""
        assert isinstance(self.clips.encoder, EncoderConfig), "parts of this kind extend it"
        return self.clips.encoder

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Those of the experiment."""
        return cls(**{field.name: experiment.sections[field.name] for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrainedRecognizer:
    """A recogniser with the weights of a checkpoint, and what is known about it."""

    recognizer: Recognizer
    classes: tuple[str, ...]
    checkpoint: str
    """Its name: a checkpoint of the run, or an official file."""
    sha256: str
    """Of the file with the weights."""
    scorer: Scorer
    run: TrainedRun | None = None
    """How far the run was trained; None for an official checkpoint."""


def device_of(experiment: Experiment) -> torch.device:
    """The device of the settings, on which the precision of the run can be used."""
    device, precision = choose_device(experiment.machine.device), experiment.training.precision
    refuse_float16_on_cpu(precision, device)
    warn_of_slow_bfloat16(precision, device, "training.precision")
    return device


def clip_source(experiment: Experiment) -> ClipSource:
    """A source of clips, whose reader must be closed."""
    sections, machine = RecognitionSections.of(experiment), experiment.machine
    steps = sections.encoder.frame_steps()
    reader = ClipReader(
        max(machine.num_workers, 1),
        fps="native",
        steps=steps,
        reader=machine.reader,
        timeout_s=machine.decode_timeout_s,
        unlisted_folders=True,
    )
    return ClipSource(reader, sections.clips.sampler(sections.encoder.exact_frames), steps)


def views_of(experiment: Experiment) -> Views:
    """Which views of a clip are scored."""
    settings = RecognitionSections.of(experiment).evaluation
    return Views(settings.clips, settings.crops, settings.short_side, settings.crop, settings.average)


def new_recognizer(experiment: Experiment, num_classes: int, classes: Sequence[str] = ()) -> Recognizer:
    """The experiment's recogniser with the weights that training starts from; `classes` are their names, if known."""
    sections = RecognitionSections.of(experiment)
    settings, config = sections.network, sections.encoder
    torch.manual_seed(experiment.run.seed)
    encoder = config.network() if settings.start == "random" else built(config)
    if settings.classifier == "file":
        classifier = published_classifier(encoder, num_classes, "; or set network.classifier=new", classes)
    else:
        torch.manual_seed(experiment.run.seed)  # the same classifier, however the encoder's weights were made
        classifier = new_classifier(encoder, num_classes)
    return _ready(experiment, encoder, classifier)


def load_trained(experiment: Experiment) -> TrainedRecognizer:
    """The run's recogniser with the weights that the settings choose.

    Raises UserError if there are none, or if the settings name an official checkpoint.
    """
    evaluation = RecognitionSections.of(experiment).evaluation
    if evaluation.weights_file is not None:
        raise UserError(
            f"evaluation.weights_file is {evaluation.weights_file}, which does not record the names of its classes.",
            "Expected a run; only `eval` takes the file as it is.",
            f"Make a run of it: actloc convert {evaluation.weights_file} ckpt/NAME {experiment.arguments}",
        )
    stored = checkpoints.load(chosen_checkpoint.folder_of(experiment))
    changed = code_files.changes(recorded_code(experiment.run_folder))
    if changed:
        console.warn(f"{experiment.run_folder} was trained with other code than this: {'; '.join(changed)}")
    about = stored.numbers["about"]
    chosen_checkpoint.refuse_other_settings(experiment, about["settings"])
    frozen = checkpoints.load_frozen(experiment.run_folder, about.get("frozen_sha256"))
    tensors = frozen | (stored.averaged if evaluation.weights == "averaged" else stored.weights)
    encoder, classifier = restored(RecognitionSections.of(experiment).encoder, tensors)
    recognizer = _ready(experiment, encoder, classifier)
    folder = checkpoints.folder_of(experiment.run_folder, stored.step)
    file = folder / f"{'averaged' if evaluation.weights == 'averaged' else 'weights'}.safetensors"
    classes = tuple(about["classes"])
    return _trained(experiment, recognizer, classes, folder.name, file, state_of(experiment, stored))


def load_official(experiment: Experiment, file: Path, classes: tuple[str, ...]) -> TrainedRecognizer:
    """The recogniser of an official checkpoint; raises UserError if it has not as many classes as these."""
    encoder = built(RecognitionSections.of(experiment).encoder.for_checkpoint(file))
    recognizer = _ready(experiment, encoder, published_classifier(encoder, len(classes), classes=classes))
    return _trained(experiment, recognizer, classes, file.name, file)


def _trained(
    experiment: Experiment,
    recognizer: Recognizer,
    classes: tuple[str, ...],
    checkpoint: str,
    file: Path,
    run: TrainedRun | None = None,
) -> TrainedRecognizer:
    scorer = scorer_of(experiment, recognizer, device_of(experiment))
    return TrainedRecognizer(recognizer, classes, checkpoint, files.sha256_of_file(file), scorer, run)


def scorer_of(experiment: Experiment, recognizer: Recognizer, device: torch.device) -> Scorer:
    """What scores clips, as many at a time as the machine's settings say."""
    machine, encoder = experiment.machine, recognizer.encoder
    chunk = machine.clip_batch or (encoder.cpu_batch if device.type == "cpu" else _GPU_BATCH)
    return Scorer(recognizer, device, experiment.training.precision, machine.num_workers, chunk)


def _ready(experiment: Experiment, encoder: ClipEncoder, classifier: torch.nn.Linear) -> Recognizer:
    sections, device = RecognitionSections.of(experiment), device_of(experiment)
    settings = sections.network
    frames = sections.clips.sampler(sections.encoder.exact_frames).frames
    if frames % encoder.clip_multiple:
        raise UserError(
            f"clips.frames is {frames}.",
            f"Expected a multiple of {encoder.clip_multiple}, which the encoder {encoder.config.name} takes.",
            f"Set clips.frames={encoder.clip_multiple}",
        )
    recognizer = Recognizer(
        ready(encoder, device),
        classifier.to(device),
        dropout=settings.dropout,
        partial_batch_norm=settings.partial_batch_norm,
    )
    encoder.recompute_blocks(settings.checkpoint_blocks)
    return recognizer.to(device)
