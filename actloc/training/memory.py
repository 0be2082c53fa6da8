"""What a training step needs, in bytes of live tensors, before the first one is taken."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from actloc.end_to_end.encoder_memory import EncoderBytes
from actloc.end_to_end.memory import LiveBytes
from actloc.settings.sections import OptimizerSettings
from actloc.structures import Batch
from actloc.training import modules
from actloc.training.modules import DETECTOR
from actloc.training.trainer import Learner


@dataclass(frozen=True)
class StepBytes:
    """Bytes of the largest step; the parts after `optimizer` do not all exist at the same time."""

    weights: int
    """Of the networks, whether they learn or not, with their buffers."""
    averages: int
    optimizer: int
    """Its state, after the first step."""
    gradients: int
    detector: int
    """Activations of the detector's forward and backward pass, with its features."""
    encoder: int
    """Activations of the encoder: of all clips that learn, or of one call."""
    frames: int
    """Of one call of the encoder, on its device."""
    peak: int
    moment: str
    """When the peak is."""


@dataclass(frozen=True)
class Inputs:
    """The largest batch of a run, and what its source makes of it."""

    batch: Batch
    features_shape: tuple[int, int, int]
    """B, C and the padded T."""
    vectors: int
    """Bytes of the vectors of all clips, which become the features; 0 for stored features."""
    encoder: EncoderBytes
    frames: int
    learns: bool
    """Whether the features get a gradient."""
    replays: bool
    """Whether it is passed on after the detector's backward pass."""


def step_bytes(
    learner: Learner, inputs: Inputs, optimizer: OptimizerSettings, *, accumulate: int, processes: int = 1
) -> StepBytes:
    """Adds up what is known, and runs the detector once, on random features of the batch, for its activations."""
    networks = [one.network for one in learner.modules.values()]
    tensors = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    learning = [one for network in networks for one in network.parameters() if one.requires_grad]
    weights, gradients = LiveBytes(tensors).now, LiveBytes(learning).now
    averages = sum(tensor.nbytes for tensor in modules.learning(learner.modules).values())
    states = 2 if optimizer.name == "adamw" else int(optimizer.momentum > 0)
    base = weights + averages + states * gradients

    features, detector, of_detector = _detector_bytes(learner, inputs, passes=min(accumulate, 2))
    existing = of_detector if accumulate > 1 else 0
    encoder, vectors = inputs.encoder, inputs.vectors
    left = features + (2 * vectors if inputs.replays else 0)  # until the next batch: its features and their gradient
    before = existing + (left if accumulate > 1 else 0)
    moments = {
        "while the encoder makes the features": before + max(encoder.features + vectors, encoder.held + 3 * vectors),
        "in the detector's step": before - existing + encoder.held + (2 * vectors if inputs.replays else 0) + detector,
        "in the encoder's backward pass": encoder.backward + of_detector + left if inputs.learns else 0,
        "in the optimizer's step": gradients + left + _of_optimizer(learning, optimizer, gradients, processes),
    }
    if not inputs.vectors:
        del moments["while the encoder makes the features"]
    moment = max(moments, key=lambda name: moments[name])
    return StepBytes(
        weights=weights,
        averages=averages,
        optimizer=states * gradients,
        gradients=gradients,
        detector=detector - of_detector,
        encoder=max(encoder.activations - inputs.frames, 0),
        frames=inputs.frames,
        peak=base + moments[moment],
        moment=moment,
    )


def _detector_bytes(learner: Learner, inputs: Inputs, *, passes: int) -> tuple[int, int, int]:
    """Bytes of the features, of all that the last pass needs with them and its gradients, and of these gradients."""
    network, batch = learner.modules[DETECTOR].network, inputs.batch
    device = next(network.parameters()).device
    learner.start_step([batch])
    with LiveBytes([*network.parameters(), *network.buffers()]) as live:
        before = live.now
        features = torch.randn(inputs.features_shape, device=device, requires_grad=inputs.learns)
        mask = batch.mask(features.shape[2], device)
        for _ in range(passes):
            live.restart()
            losses = learner.losses(features, mask, batch)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            features.grad = None
        needed = live.peak - before
    gradients = sum(one.grad.nbytes for one in network.parameters() if one.grad is not None)
    network.zero_grad(set_to_none=True)
    return features.nbytes, needed, gradients


def _of_optimizer(learning: list[Tensor], settings: OptimizerSettings, gradients: int, processes: int) -> int:
    """What torch's optimizers hold inside a step: copies of all weights on a GPU, of one at a time on a CPU.

    Several processes add their gradients up in one flat copy of them before.
    """
    largest = max(one.nbytes for one in learning)
    one_by_one = (2 if settings.name == "adamw" else 1) * largest
    inside = gradients if learning[0].device.type == "cuda" else one_by_one
    return max(inside, gradients if processes > 1 else 0)
