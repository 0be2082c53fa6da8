"""The memory that a run's training steps will need, measured before the first one, and what would need less."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.encoder_memory import Encoding, encoder_bytes
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.experiment import Experiment
from actloc.runs.localizer import LocalizationLearner, build_detector
from actloc.sources.base_source import Source
from actloc.structures import Batch, Sample
from actloc.training.memory import (
    DETECTOR_STEP,
    OPTIMIZER_STEP,
    DetectorBytes,
    EncoderPart,
    StepBytes,
    detector_bytes,
    step_bytes,
)

WORTH_SAYING = 0.95
"""Share of the memory below which other settings are named."""


@dataclass(frozen=True)
class TrainingMemory:
    """Of the largest step of a run."""

    step: StepBytes
    advice: str
    """A sentence on what would need less."""


class LargestStep:
    """Measures the largest step of a run, also with other settings of its encoder.

    Reads no frame; the encoder is measured without values, a detector like the run's takes one step on random features.
    The run's own detector and random numbers stay as they are.
    """

    def __init__(self, experiment: Experiment, learner: LocalizationLearner, num_processes: int) -> None:
        source, training, localizer = copy.copy(learner.source), experiment.training, learner.localizer
        source.bank = None
        self._gpus = [localizer.device] if localizer.device.type == "cuda" else []
        with torch.random.fork_rng(self._gpus):
            detector = build_detector(
                experiment.detector,
                source.in_channels,
                len(learner.annotations.classes),
                experiment.features.max_steps,
                seed=experiment.run.seed,
                device=localizer.device,
            )
        alone = replace(localizer, detector=detector.train())
        self._learner = LocalizationLearner(alone, source, learner.annotations, lambda _: {})
        self._batch = _largest_batch(source, -(-training.batch_size // num_processes))
        self._shape = len(self._batch.samples), source.in_channels, detector.padded_steps(max(self._batch.lengths))
        self._optimizer, self._accumulate, self._num_processes = (
            experiment.optimizer,
            training.accumulate,
            num_processes,
        )
        self._detector_bytes: dict[bool, DetectorBytes] = {}

    def num_learning_chunks(self, chunk: int) -> int:
        """How many calls of up to `chunk` clips the encoder learns from, if clips of two windows share none."""
        numbers = (self._learner.source.num_learning(len(window.clips)) for window in _windows(self._batch))
        return sum(-(-number // chunk) for number in numbers)

    def bytes(self, source: Source, live: LiveEncoder | None) -> StepBytes:
        """With this encoder, and with the clips that learn of `source`."""
        learns, has_gradients = live is not None and live.learns, self._accumulate > 1
        with torch.random.fork_rng(self._gpus):
            if learns not in self._detector_bytes:
                self._detector_bytes[learns] = detector_bytes(
                    self._learner, self._batch, self._shape, accumulate=self._accumulate
                )
            encoder = EncoderPart()
            if live is not None:
                encoder = _encoder_part(source, live, self._batch, has_gradients=has_gradients)
        return step_bytes(
            self._learner.modules,
            self._detector_bytes[learns],
            encoder,
            self._optimizer,
            accumulate=self._accumulate,
            num_processes=self._num_processes,
        )


def training_memory(experiment: Experiment, learner: LocalizationLearner, num_processes: int) -> TrainingMemory:
    """Measures the largest step, and what would need less."""
    largest, source = LargestStep(experiment, learner, num_processes), learner.source
    found = largest.bytes(source, source.live)
    advice = advice_without_encoder(found, experiment.optimizer.name)
    if advice:
        return TrainingMemory(found, advice)
    for setting, result, other in _alternatives(source.live):
        peak = largest.bytes(source, other).peak
        if peak < WORTH_SAYING * found.peak:
            return TrainingMemory(found, f"With {setting} it is {megabytes(peak)} MB: {result}.")
    recomputes = getattr(experiment.features, "checkpoint_blocks", True)  # only an encoded source has the setting
    is_last = recomputes or source.live is None or not source.live.learns
    return TrainingMemory(found, _SMALLER_ENCODER if is_last else _RECOMPUTE)


_SMALLER_ENCODER = "A smaller encoder needs less, and so does one of which fewer stages learn."
_RECOMPUTE = (
    "features.checkpoint_blocks=true needs less: activations inside the encoder's blocks are computed again in the "
    "backward pass."
)


def megabytes(size: int) -> str:
    """In units of 2^20 bytes."""
    return f"{size / 2**20:,.1f}"


def advice_without_encoder(found: StepBytes, optimizer: str) -> str:
    """A sentence on what needs less where the encoder's activations are not what is large; otherwise empty."""
    if found.moment not in (DETECTOR_STEP, OPTIMIZER_STEP) or found.encoder >= found.peak / 4:
        return ""
    if found.moment == OPTIMIZER_STEP:
        other = "" if optimizer == "sgd" else "; so does optimizer.name=sgd"
        return f"A network with fewer weights that learn needs less{other}."
    return (
        "A smaller training.batch_size or features.max_steps needs less; training.accumulate makes up for smaller "
        "batches."
    )


def _alternatives(live: LiveEncoder | None) -> Iterator[tuple[str, str, LiveEncoder]]:
    """Settings that give the same result in less memory, from the fastest to the smallest."""
    if live is None or live.encoder.config.mixes_clips:
        return
    smaller = copy.copy(live)
    if live.learns and live.route == "direct":
        smaller.route = "replay"
        yield "features.route=replay", "the same result, but clips that learn are encoded twice", smaller
    elif live.learns and live.kept_chunks:
        smaller.kept_chunks = 0
        yield "features.kept_chunks=0", "the same result, but all clips that learn are encoded twice", smaller
    if live.chunk > 1:
        smaller.chunk = 1
        before = [
            setting
            for setting, is_set in (
                ("features.route=replay", smaller.route != live.route),
                ("features.kept_chunks=0", smaller.kept_chunks != live.kept_chunks),
            )
            if is_set
        ]
        setting = " and ".join([*before, "features.chunk=1"])
        skips = type(live.encoder).drop_branches is not ClipEncoder.drop_branches
        result = "the same result, but for the draws of stochastic depth" if skips else "the same result"
        yield setting, f"{result}, one clip at a time", smaller


def _largest_batch(source: Source, size: int) -> Batch:
    """The longest windows that training can cut, with the most bytes of frames where clips are encoded."""
    numbers = sorted(range(len(source.videos)), key=lambda number: -(source.videos[number].duration_s or 0.0))
    if source.live is None:
        size = min(size, source.num_training_samples)
        return Batch(tuple(source.longest_sample(number) for number in (numbers * size)[:size]))
    windows = [source.longest_sample(number) for number in numbers]
    return Batch(tuple(sorted(windows, key=_bytes_of_frames)[-size:]))


def _windows(batch: Batch) -> list[ClipWindow]:
    return [sample.payload for sample in batch.samples if isinstance(sample.payload, ClipWindow)]


def _bytes_of_frames(sample: Sample) -> int:
    assert isinstance(sample.payload, ClipWindow)
    return sample.payload.num_bytes


def _encoder_part(source: Source, live: LiveEncoder, batch: Batch, *, has_gradients: bool) -> EncoderPart:
    windows = _windows(batch)
    clips = [len(window.clips) for window in windows]
    learning = sum(source.num_learning(number) for number in clips)
    others = 0 if source.config.bank_store is not None else sum(clips) - learning
    largest = max(windows, key=lambda window: window.num_bytes)
    encoding = Encoding(
        (len(largest.layout.frames_of(0)), *largest.frame_shape),
        getattr(torch, largest.dtype),
        learning=learning,
        others=others,
        chunk=max(clips) if live.encoder.config.mixes_clips else live.chunk,
    )
    return EncoderPart(
        encoder_bytes(live, encoding, has_gradients=has_gradients),
        vectors=sum(clips) * live.encoder.vectors_per_clip(encoding.frames_shape[0]) * live.encoder.channels * 4,
        frames=encoding.frames_bytes,
        learns=learning > 0,
        replays=live.route == "replay" and learning > 0,
    )
