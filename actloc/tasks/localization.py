"""Temporal action localization: a detector on a source of features, for training, evaluation and prediction."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.detectors.base import Detector
from actloc.devices import choose_device
from actloc.errors import UserError
from actloc.evaluation.postprocess import postprocess
from actloc.experiment import Experiment, load
from actloc.layers.precision import computing_in
from actloc.settings.sameness import differences
from actloc.sources.base import Source
from actloc.structures import Batch, Detections, Sample, VideoDetections
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.training.distributed import ALONE, Processes
from actloc.training.loader import load_ahead
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import OfficialCheckpoint, read_official_checkpoint

_ANY_CLASS = "action"


def read_annotations(experiment: Experiment) -> Annotations:
    """The prepared annotations, with all classes merged into one where the dataset asks for it.

    Raises UserError if there are none, or if another variant of the dataset was prepared than the settings ask for.
    """
    file = experiment.dataset.annotations_file
    if not file.exists():
        raise UserError(
            f"{file} does not exist.",
            "Expected what `actloc prepare` writes; paths count from the working folder.",
            f"Run: actloc prepare {experiment.arguments}",
        )
    annotations = annotation_form.read(file)
    asked = experiment.dataset.variant
    if annotations.variant != asked:
        raise UserError(
            f"{file} was prepared as: {annotations.variant or 'no variant named'}; the settings ask for: {asked}.",
            "Expected the variant that the settings name; another one's numbers cannot be compared with its.",
            f"Replace it: actloc prepare {experiment.arguments} --overwrite; "
            "or keep both: prepare and use dataset.folder=ANOTHER_FOLDER",
        )
    if not experiment.dataset.class_agnostic:
        return annotations
    videos = {
        video.id: replace(video, actions=tuple(replace(action, label=_ANY_CLASS) for action in video.actions))
        for video in annotations.videos.values()
    }
    return replace(annotations, classes=(_ANY_CLASS,), videos=videos)


def build_detector(experiment: Experiment, in_channels: int, num_classes: int) -> Detector:
    """The experiment's detector with freshly drawn weights, on its device."""
    torch.manual_seed(experiment.run.seed)
    detector = experiment.detector.build(in_channels, num_classes, experiment.features.max_steps)
    return detector.to(choose_device(experiment.machine.device))


ScoreSubset = Callable[[Annotations, str, list[VideoDetections]], float]
"""The average mAP of detections on a subset."""


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with the weights of a checkpoint, and what the checkpoint says about it."""

    detector: Detector
    classes: tuple[str, ...]
    in_channels: int
    encoder_weights_sha256: str | None
    checkpoint: str


def load_trained(experiment: Experiment) -> TrainedDetector:
    """The run's detector with the weights that the settings choose; raises UserError if there are none."""
    foreign = experiment.evaluation.weights_file
    if foreign is not None:
        raise UserError(
            f"evaluation.weights_file is {foreign}: it knows neither its classes nor its encoder.",
            "Expected a run; only `eval` takes the file as it is.",
            f"Make a run of it: actloc convert {foreign} ckpt/NAME {experiment.file}",
        )
    chosen = checkpoints.best if experiment.evaluation.checkpoint == "best" else checkpoints.last
    stored = checkpoints.load(chosen(experiment.run_folder))
    about = stored.numbers["about"]
    _refuse_other_detector(experiment, about["settings"])
    folder = checkpoints.folder_of(experiment.run_folder, stored.step)
    classes, in_channels = tuple(about["classes"]), about["in_channels"]
    detector = _with_weights(experiment, in_channels, len(classes), stored, folder)
    return TrainedDetector(detector, classes, in_channels, about["encoder_weights_sha256"], folder.name)


def load_official(experiment: Experiment, file: Path, classes: tuple[str, ...]) -> TrainedDetector:
    """The experiment's detector with the weights of an official checkpoint; raises UserError if they do not fit."""
    stored = read_official_checkpoint(file)
    in_channels = stored.in_channels or 1  # without an embedding nothing fits, and all is listed
    detector = _with_weights(experiment, in_channels, len(classes), stored, file)
    return TrainedDetector(detector, classes, in_channels, None, file.name)


def _with_weights(
    experiment: Experiment, in_channels: int, num_classes: int, stored: Checkpoint | OfficialCheckpoint, source: Path
) -> Detector:
    detector = build_detector(experiment, in_channels, num_classes)
    weights = stored.averaged if experiment.evaluation.weights == "averaged" else stored.weights
    check_fit(detector, weights, source)
    detector.load_state_dict(weights)
    return detector.eval()


def _refuse_other_detector(experiment: Experiment, trained: dict[str, object]) -> None:
    """Another network, or features of another kind, would give numbers that belong to no run."""
    recorded = experiment.run_folder / "config.yaml"
    if recorded.is_file():  # loaded with today's defaults: a setting that the run did not know yet is no difference
        trained = {**load(str(recorded)).shaping("weights"), **trained}
    now = experiment.shaping("detections")
    differing = differences({key: trained.get(key) for key in now}, now, "in the run", "now")
    if differing:
        listed = "\n  ".join(differing)
        raise UserError(
            f"{experiment.run_folder} was trained with other settings:\n  {listed}",
            "Detection needs those of the training.",
            f"Leave them as they were, or name the run itself: {experiment.run_folder}",
        )


class LocalizationLearner:
    """What the trainer asks: samples, features, losses and validation of a detector."""

    def __init__(
        self,
        experiment: Experiment,
        annotations: Annotations,
        score: ScoreSubset,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.experiment = experiment
        self.score = score
        self.annotations = annotations
        self.source = _source(experiment, annotations, experiment.dataset.training_subset)
        if experiment.training.validation_subset:
            _source(experiment, annotations, experiment.training.validation_subset)  # what is wrong is told now
        self.num_samples = len(self.source.videos)
        self.detector = build_detector(experiment, self.source.in_channels, len(annotations.classes))
        self.detector.expect_no_actions_of(annotations.empty_classes)
        self.network = self.detector
        self.device = choose_device(experiment.machine.device)

    def load_sample(self, index: int, generator: random.Random) -> Sample:
        """A training window of video `index`."""
        return self.source.training_sample(index, generator)

    def start_step(self, batches: Sequence[Batch]) -> None:
        """Moves the loss normaliser by the positives of the whole step."""
        weights = [self.detector.weight_of(batch.lengths, batch.targets(self.device)) for batch in batches]
        self.detector.start_step(self.processes.total(sum(weights)))

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's features, padded as the detector asks."""
        return batch.padded(self.detector.padded_steps(max(batch.lengths)), self.device)

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The detector's losses."""
        with computing_in(self.experiment.training.precision, self.device):
            return self.detector.losses(features, mask, batch.targets(self.device))

    def validate(self, averaged: dict[str, Tensor]) -> float:
        """Average mAP of the averaged weights on the validation subset."""
        subset = self.experiment.training.validation_subset or self.experiment.dataset.evaluation_subset
        trained = {name: tensor.clone() for name, tensor in self.detector.state_dict().items()}
        self.detector.load_state_dict(averaged)
        source = _source(self.experiment, self.annotations, subset)
        found = detect(self.experiment, self.detector, source, self.processes)
        self.detector.load_state_dict(trained)
        return self.score(self.annotations, subset, found)

    def about(self) -> dict[str, object]:
        """What a checkpoint needs to stand alone: classes, channels, the encoder's weights and the settings."""
        return {
            "classes": list(self.annotations.classes),
            "in_channels": self.source.in_channels,
            "encoder_weights_sha256": self.source.encoder_weights_sha256,
            "settings": self.experiment.shaping("weights"),
        }

    def training_state(self) -> dict[str, float]:
        """The detector's plain numbers."""
        return self.detector.training_state()

    def load_training_state(self, state: dict[str, float]) -> None:
        """Takes them back."""
        self.detector.load_training_state(state)


def _source(experiment: Experiment, annotations: Annotations, subset: str) -> Source:
    return experiment.features.build(annotations, subset, experiment.encoder)


def evaluation_source(experiment: Experiment, annotations: Annotations) -> Source:
    """The features of the evaluation subset."""
    return _source(experiment, annotations, experiment.dataset.evaluation_subset)


def detect(
    experiment: Experiment, detector: Detector, source: Source, processes: Processes = ALONE
) -> list[VideoDetections]:
    """Detections of every video, in seconds, in id order; each process works on a share and gets all results."""
    detector.eval()
    numbers = processes.share(range(len(source.videos)))
    samples = load_ahead(source.evaluation_sample, numbers, experiment.machine.num_workers)
    found = []
    with console.progress("detecting", len(numbers)) as bar:
        for number, sample in zip(numbers, samples, strict=True):
            video = source.videos[number]
            found.append(VideoDetections(video.id, detect_one(experiment, detector, sample, video.duration_s)))
            bar(1)
    everywhere = [one for part in processes.gather(found) for one in part]
    return sorted(everywhere, key=lambda one: one.video_id)


def _padded_steps(detector: Detector, sample: Sample) -> int:
    try:
        return detector.padded_steps(sample.features.shape[1])
    except UserError as error:
        raise UserError(f"{sample.video_id}: {error.found}", error.expected, error.mend) from error


def detect_one(experiment: Experiment, detector: Detector, sample: Sample, duration_s: float | None) -> Detections:
    """Detections of one video in seconds, suppressed and sorted by score."""
    device = choose_device(experiment.machine.device)
    batch = Batch((sample,))
    detector.eval()
    with torch.inference_mode(), computing_in(experiment.training.precision, device):
        features, mask = batch.padded(_padded_steps(detector, sample), device)
        found = detector.detect(features, mask)[0]
    found = Detections(found.segments.cpu(), found.scores.cpu(), found.labels.cpu())
    return postprocess(found, sample.grid, float("inf") if duration_s is None else duration_s, experiment.suppression)
