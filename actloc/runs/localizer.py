"""Temporal action localization: a detector on a source of features, for training, evaluation and prediction."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actloc import console
from actloc.annotations.model import Annotations
from actloc.detectors.base import DetectorConfig
from actloc.detectors.base_network import Detector, PointDetector
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import TooLongError, UserError, VideoError
from actloc.evaluation.postprocess import postprocess
from actloc.extraction.rows import RowsInFile
from actloc.layers.precision import computing_in
from actloc.ops.criterion import Criterion
from actloc.prefetch import load_ahead
from actloc.runs.encoded_once import encoded_once, is_made_in_parts
from actloc.runs.long_videos import Window, detect_in_windows, longest_whole, margin_of, padded_beyond, windows
from actloc.runs.longest_action import LengthLimit
from actloc.runs.onnx_detector import OnnxDetector
from actloc.settings.code_errors import wrong_return
from actloc.settings.detections import SuppressionSettings
from actloc.sources.base_source import Source
from actloc.store.store import FeatureStore
from actloc.structures import Batch, Detections, Sample, Targets, VideoDetections, Visit
from actloc.training import modules
from actloc.training.distributed import ALONE, Processes
from actloc.training.modules import DETECTOR, ENCODER, Modules, TrainedModule

HALF_STEP = 0.5  # a step is centred on its number
_BANK = "bank"
"""The bank's part of a checkpoint's plain values."""


def build_detector(
    config: DetectorConfig, in_channels: int, num_classes: int, max_steps: int, *, seed: int, device: torch.device
) -> Detector:
    """The detector on `device`, with initial weights drawn from `seed`."""
    torch.manual_seed(seed)
    detector = config.build(in_channels, num_classes, max_steps)
    if not isinstance(detector, Detector) or not isinstance(getattr(detector, "criterion", None), Criterion):
        raise wrong_return(detector, "a Detector that has a criterion", config.build)
    return detector.to(device)


@dataclass(frozen=True)
class Localizer:
    """A detector with the device, the precision and the suppression that it runs with.

    `max_steps` are the steps by which limits of detections count.
    """

    detector: Detector
    device: torch.device
    precision: str
    suppression: SuppressionSettings
    max_steps: int

    def features(self, source: Source, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's features (B, C, T) from its source and their mask (B, T), padded as the detector needs."""
        longest = max(batch.lengths)
        steps = self.detector.padded_steps(longest)
        if not isinstance(steps, int) or steps < longest:
            raise wrong_return(steps, f"at least {longest}, the steps of the longest video", self.detector.padded_steps)
        return source.features(batch, steps, self.device), batch.mask(steps, self.device)

    def detect_one(
        self, source: Source, samples: Iterable[Sample], duration_s: float | None, limit: LengthLimit | None = None
    ) -> Detections:
        """Detections of one video in seconds, from the windows that cover it: merged, suppressed, sorted by score.

        `limit` is for new videos, which may be of any length if they are seen in windows: it drops candidates that are
        too long. Raises TooLongError if a window is too long for the detector.
        """
        self.detector.eval()
        found: list[Detections] = []
        windows: list[tuple[float, float]] = []
        grid, num_steps = None, 0
        for sample in samples:
            with torch.inference_mode(), computing_in(self.precision, self.device):
                own = self._detect(source, sample, is_new=limit is not None)
            own, grid = own if limit is None else limit.kept(own, sample, self._own_detector), sample.grid
            class_scores = None if own.class_scores is None else own.class_scores.cpu()
            segments = own.segments.cpu()
            if sample.first_step:  # may be more than float32 knows small parts of
                segments = segments.double() + sample.first_step
            found.append(Detections(segments, own.scores.cpu(), own.labels.cpu(), class_scores, own.cut_by))
            end = sample.first_step + sample.num_steps
            windows.append((sample.first_step - HALF_STEP, end - HALF_STEP))
            num_steps = max(num_steps, end)
        assert grid is not None, "a video has at least one window"
        merged = found[0] if len(found) == 1 else _merged(found)
        num_windows = math.ceil(num_steps / self.max_steps)
        end_s = math.inf if duration_s is None else duration_s
        return postprocess(merged, grid, end_s, self.suppression, num_windows, windows)

    def _detect(self, source: Source, sample: Sample, *, is_new: bool) -> Detections:
        """Detections in feature steps, before suppression; a long sample is seen part by part, if that is the same."""
        detector, is_live = self.detector, isinstance(sample.payload, ClipWindow)
        # what a user's source does to a batch may not be the same to a part of it
        has_parts = is_made_in_parts(source, sample) if is_live else type(source).features is Source.features
        with _naming(sample):
            cut = self._windows(sample.num_steps, is_new=is_new) if has_parts else None
        if cut is None:
            with _naming(sample):
                features, mask = self.features(source, Batch((sample,)))
            listed = detector.detect(features, mask)
            _check_detections(detector, listed)
            return listed[0]
        own = self._own_detector
        assert isinstance(own, PointDetector)
        padded_steps = _padded_steps(own, sample.num_steps, is_new=is_new)
        with RowsInFile() as rows:
            whole = encoded_once(source, sample, rows) if is_live else sample

            def load(start: int, end: int) -> tuple[Tensor, Tensor]:
                part = whole.part(start, min(end, whole.num_steps) - start, Targets.none())
                with _naming(sample):
                    return Batch((part,)).padded(end - start, self.device)

            return detect_in_windows(own, detector, padded_steps, cut, load)

    @property
    def _own_detector(self) -> Detector:
        """The run's, also where an ONNX file computes its network."""
        return self.detector.detector if isinstance(self.detector, OnnxDetector) else self.detector

    def _windows(self, num_steps: int, *, is_new: bool) -> list[Window] | None:
        """The windows that a video of `num_steps` is seen in; None for one that is seen whole. Raises TooLongError.

        A new video that is longer than the detector takes as a whole is seen in windows rather than refused.
        """
        detector = self.detector
        if isinstance(detector, OnnxDetector):
            return detector.windows(num_steps)
        longest = longest_whole(detector) if isinstance(detector, PointDetector) else None
        if longest is None:
            return None
        assert isinstance(detector, PointDetector)
        taken = int(detector.max_steps * detector.config.max_buffer_factor) if is_new else longest
        if num_steps <= min(longest, taken):
            return None
        margin = margin_of(detector)
        assert margin is not None, "the detector has a reach"
        return windows(num_steps, _padded_steps(detector, num_steps, is_new=is_new), longest, margin)

    def detect(self, source: Source, num_workers: int, processes: Processes = ALONE) -> list[VideoDetections]:
        """Detections of every video in seconds, ordered by id; each process works on a part and gets all results.

        A video that is too long for the detector has none, and says so; the others are not lost for it. Raises
        TooLongError if all are.
        """
        numbers = processes.share(range(len(source.videos)))
        samples = load_ahead(source.evaluation_samples, numbers, num_workers)
        found, refused = [], []
        with console.progress("detecting", len(numbers)) as bar:
            for number, windows in zip(numbers, samples, strict=True):
                video, is_too_long = source.videos[number], False
                detections = Detections(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long))
                try:
                    detections = self.detect_one(source, windows, video.duration_s)
                except VideoError as error:
                    source.leave_out(video, error)
                except TooLongError as error:
                    refused.append(error)
                    is_too_long = True
                found.append(VideoDetections(video.id, detections, is_too_long))
                bar(1)
        everywhere = [one for part in processes.gather(found) for one in part]
        for refusal in [one for part in processes.gather(refused) for one in part]:
            if all(one.too_long for one in everywhere):
                raise refusal
            console.error(refusal)
        return sorted(everywhere, key=lambda one: one.video_id)


@contextmanager
def _naming(sample: Sample) -> Iterator[None]:
    """Adds the video to the user's errors."""
    try:
        yield
    except UserError as error:
        kind = TooLongError if isinstance(error, TooLongError) else UserError
        raise kind(f"{sample.video_id}: {error.found}", error.expected, error.fix) from error


def _padded_steps(detector: PointDetector, num_steps: int, *, is_new: bool) -> int:
    return padded_beyond(detector, num_steps) if is_new else detector.padded_steps(num_steps)


def _merged(windows: list[Detections]) -> Detections:
    """The detections of all windows of a video, in steps of the video; suppression then picks among them.

    Segments keep class scores of their own; where each window has one row, the mean of the windows is the video's.
    """
    rows = [one.class_scores for one in windows if one.class_scores is not None]
    are_of_segments = all(len(row) == len(one) for row, one in zip(rows, windows, strict=False))
    return Detections(
        torch.cat([one.segments for one in windows]),
        torch.cat([one.scores for one in windows]),
        torch.cat([one.labels for one in windows]),
        (torch.cat(rows) if are_of_segments else torch.stack(rows).mean(dim=0)) if rows else None,
        frozenset().union(*(one.cut_by for one in windows)),
    )


def _check_detections(detector: Detector, found: object) -> None:
    """Raises CodeError where the user's own detector does not give what is asked for one video."""
    methods = detector.detect, detector.select
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], Detections):
        raise wrong_return(found, "a list with one Detections for each video, here one", *methods)
    shapes = tuple(found[0].segments.shape), tuple(found[0].scores.shape), tuple(found[0].labels.shape)
    number = len(found[0].scores)
    if shapes != ((number, 2), (number,), (number,)):
        expected = "Detections of segments (N, 2), scores (N,) and labels (N,)"
        raise wrong_return(list(shapes), f"{expected}, found {shapes}", *methods)
    rows = found[0].class_scores
    if rows is not None and (rows.dim() != 2 or len(rows) not in (1, number)):
        shape = tuple(rows.shape)
        raise wrong_return(list(shape), f"class_scores (1, K) or (N, K), here N is {number}, found {shape}", *methods)


def _module_of(detector: Detector) -> TrainedModule:
    """The detector, with the rates of what learns faster or slower than the rest of it."""
    factors = {name: detector.rate_factor(name) for name, _ in detector.named_parameters()}
    return TrainedModule(detector, rates={name: factor for name, factor in factors.items() if factor != 1})


def _encoder_of(source: Source) -> Modules:
    """The encoder that the source runs in every step, by the settings of its own block; none for stored features."""
    if source.live is None:
        return {}
    encoder, config = source.live.encoder, source.live.encoder.config
    return {ENCODER: TrainedModule(encoder, config.rate_factor, config.weight_decay, has_fixed_buffers=True)}


class LocalizationLearner:
    """The trainer's `Learner` for a detector: samples, features, losses and validation."""

    score_name = "average_mAP"

    def __init__(
        self,
        localizer: Localizer,
        source: Source,
        annotations: Annotations,
        validate: Callable[[Localizer], dict[str, float]],
        processes: Processes = ALONE,
    ) -> None:
        self.localizer = localizer
        self.detector = localizer.detector
        self.modules: Modules = {DETECTOR: _module_of(self.detector), **_encoder_of(source)}
        self.detector.expect_no_actions_of(annotations.empty_classes)
        self.source = source
        self.annotations = annotations
        self.processes = processes
        self.num_samples = source.num_training_samples
        self._validate = validate

    def load_sample(self, index: int, visit: Visit) -> Sample:
        """Training window `index` of an epoch."""
        return self.source.training_sample(index, visit.generator(index), visit)

    def start_step(self, batches: Sequence[Batch]) -> None:
        """Updates the criterion with the weight of the whole step, if that is known before the outputs."""
        self.detector.train()
        if self.source.bank is not None:
            self.source.bank.start_step()
        criterion = self.detector.criterion
        if criterion.weight_follows_from_targets:
            weights = [criterion.weight_of(batch.lengths, self._targets(batch)) for batch in batches]
            criterion.start_step(self.processes.total(sum(weights)))
        else:  # each process counts its own outputs; all use the first one's numbers, as a checkpoint does
            criterion.load_training_state(self.processes.of_first(criterion.training_state))

    def _targets(self, batch: Batch) -> list[Targets]:
        return batch.targets(self.localizer.device)

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's features and mask, padded as the detector needs."""
        return self.localizer.features(self.source, batch)

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The detector's losses."""
        with computing_in(self.localizer.precision, self.localizer.device):
            losses = self.detector.losses(features, mask, self._targets(batch))
        values = list(losses.values()) if isinstance(losses, dict) else []
        are_scalars = all(isinstance(value, Tensor) and value.dim() == 0 for value in values)
        if not are_scalars or not any(value.requires_grad for value in values):
            methods = self.detector.losses, self.detector.criterion.forward
            raise wrong_return(losses, "a dict of scalar tensors by name, with gradients", *methods)
        return losses

    def backward(self, loss: Tensor) -> None:
        """The gradients of the detector, and of what makes the features."""
        loss.backward()  # type: ignore[no-untyped-call]
        self.source.backward()

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        """Writes what the step encoded into the bank, if there is one; returns the age of the rows it read."""
        bank = self.source.bank
        return {} if bank is None else bank.commit(step, steps_per_epoch, self.processes)

    def validate(self, averaged: dict[str, Tensor]) -> dict[str, float]:
        """Average mAP of the averaged weights on the validation subset, and that of each tIoU."""
        trained = {name: tensor.clone() for name, tensor in modules.learning(self.modules).items()}
        modules.load(self.modules, averaged)
        scores = self._validate(self.localizer)
        modules.load(self.modules, trained)
        return scores

    def about(self) -> dict[str, Any]:  # Any: JSON values
        """What a checkpoint stores in addition to settings: classes, channels, sha256 of the encoder's weights."""
        return {
            "classes": list(self.annotations.classes),
            "in_channels": self.source.in_channels,
            "encoder_weights_sha256": self.source.encoder_weights_sha256,
        }

    def begin(self) -> None:
        """Fills the bank with the stored features that it starts from."""
        bank, origin = self.source.bank, self.source.config.bank_store
        if bank is not None and origin is not None:
            video_ids = [video.id for video in self.source.videos]
            bank.begun(self.processes.of_first(lambda: bank.begin(FeatureStore(origin), video_ids)))

    def training_state(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:  # Any: JSON values
        """The criterion's numbers, and the state of the bank, whose changed rows are written first."""
        state, bank = self.detector.criterion.training_state(), self.source.bank
        if bank is None:
            return state, {}
        bank.save(step)
        return {**state, _BANK: bank.state(step)}, bank.tensors()

    def load_training_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:  # Any: JSON values
        """Restores what `training_state` returned; raises UserError if rows of the bank are gone."""
        own = {name: value for name, value in state.items() if name != _BANK}
        self.detector.criterion.load_training_state(own)
        if self.source.bank is not None:
            self.source.bank.load(state[_BANK], tensors)

    def saved(self, step: int) -> None:
        """Takes note that the rows of the bank are written."""
        if self.source.bank is not None:
            self.source.bank.saved(step)

    def keep(self, states: Sequence[dict[str, Any]]) -> None:  # Any: JSON values
        """Deletes the rows of the bank that none of these checkpoints needs."""
        if self.source.bank is not None:
            self.source.bank.keep([state[_BANK] for state in states])
