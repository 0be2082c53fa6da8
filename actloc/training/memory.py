"""What a training step needs, in bytes of live tensors, before the first one is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from actloc.end_to_end.encoder_memory import EncoderBytes
from actloc.end_to_end.memory import LiveBytes
from actloc.layers.drop_path import computing_all_branches
from actloc.settings.sections import OptimizerSettings
from actloc.structures import Batch
from actloc.training import modules
from actloc.training.modules import DETECTOR, Modules
from actloc.training.trainer import Learner

ENCODING, DETECTOR_STEP, ENCODER_BACKWARD, OPTIMIZER_STEP = (
    "while the encoder makes the features",
    "in the detector's step",
    "in the encoder's backward pass",
    "in the optimizer's step",
)


@dataclass(frozen=True)
class StepBytes:
    """Bytes of the largest step. Gradients, activations and frames do not all exist at the same time."""

    weights: int
    """Of the networks, whether they learn or not, with their buffers."""
    averages: int
    optimizer: int
    """Its state, which exists from the first step on."""
    gradients: int
    detector: int
    """Activations of the detector's forward and backward pass, with its features."""
    encoder: int
    """Activations of the encoder: of all clips that learn, or of one call."""
    frames: int
    """Of one call of the encoder, on its device."""
    peak: int
    """The most at any time."""
    moment: str
    """When that is."""


@dataclass(frozen=True)
class DetectorBytes:
    """Bytes beside the detector's weights."""

    features: int
    needed: int
    """At most in its forward and backward pass, with the features and all gradients."""
    gradients: int
    """Of its weights."""


@dataclass(frozen=True)
class EncoderPart:
    """What the encoder adds to a step; nothing where features are stored."""

    measured: EncoderBytes = field(default_factory=EncoderBytes)
    vectors: int = 0
    """Bytes of the vectors of all clips, which become the features."""
    frames: int = 0
    learns: bool = False
    replays: bool = False
    """Whether the gradient is passed on after the detector's backward pass."""


def detector_bytes(learner: Learner, batch: Batch, shape: tuple[int, int, int], *, accumulate: int) -> DetectorBytes:
    """Runs the detector once on random features (B, C, T) of the batch, or twice, so that gradients are there before.

    The features get a gradient if an encoder learns.
    """
    detector = learner.modules[DETECTOR].network
    device = next(detector.parameters()).device
    encoders = [one.network for name, one in learner.modules.items() if name != DETECTOR]
    learns = any(parameter.requires_grad for encoder in encoders for parameter in encoder.parameters())
    learner.start_step([batch])
    with computing_all_branches(detector), LiveBytes([*detector.parameters(), *detector.buffers()]) as live:
        before = live.now
        features = torch.randn(shape, device=device, requires_grad=learns)
        mask = batch.mask(shape[2], device)
        for _ in range(min(accumulate, 2)):
            live.restart()
            losses = learner.losses(features, mask, batch)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            features.grad = None
        needed = live.peak - before
    gradients = sum(one.grad.nbytes for one in detector.parameters() if one.grad is not None)
    detector.zero_grad(set_to_none=True)
    return DetectorBytes(features.nbytes, needed, gradients)


def step_bytes(
    trained: Modules,
    detector: DetectorBytes,
    encoder: EncoderPart,
    optimizer: OptimizerSettings,
    *,
    accumulate: int,
    num_processes: int = 1,
) -> StepBytes:
    """The sum of what always exists, and the largest of what a step adds to it at one time."""
    networks = [one.network for one in trained.values()]
    tensors = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    learning = [one for network in networks for one in network.parameters() if one.requires_grad]
    weights, gradients = LiveBytes(tensors).now, LiveBytes(learning).now
    averages = sum(tensor.nbytes for tensor in modules.learning(trained).values())
    state = gradients * (int(optimizer.momentum > 0) if optimizer.name == "sgd" else 2)

    measured, vectors = encoder.measured, encoder.vectors
    leaf = 2 * vectors if encoder.replays else 0  # with its gradient
    left = detector.features + leaf  # until the next batch has its own
    earlier = left if accumulate > 1 else 0
    moments = {
        DETECTOR_STEP: earlier + measured.held + leaf + detector.needed,
        OPTIMIZER_STEP: gradients + left + _inside_optimizer(learning, optimizer, gradients, num_processes),
    }
    if vectors:
        existing = earlier + (detector.gradients if accumulate > 1 else 0)
        # joining, sorting and padding the vectors takes copies of them
        moments[ENCODING] = existing + max(measured.features + vectors, measured.held + 3 * vectors)
    if encoder.learns:
        moments[ENCODER_BACKWARD] = measured.backward + detector.gradients + left
    moment = max(moments, key=lambda name: moments[name])
    return StepBytes(
        weights=weights,
        averages=averages,
        optimizer=state,
        gradients=gradients,
        detector=detector.needed - detector.gradients,
        encoder=max(measured.activations - encoder.frames, 0),
        frames=encoder.frames,
        peak=weights + averages + state + moments[moment],
        moment=moment,
    )


def _inside_optimizer(
    learning: Sequence[Tensor], settings: OptimizerSettings, gradients: int, num_processes: int
) -> int:
    """What the optimizer holds inside a step: SGD copies of all weights on a GPU, of one at a time on a CPU.

    Adam and AdamW are fused, without copies. Before the step, several processes add their gradients up in a flat copy.
    """
    inside = 0
    if settings.name == "sgd":
        inside = gradients if learning[0].device.type == "cuda" else max(one.nbytes for one in learning)
    return max(inside, gradients if num_processes > 1 else 0)
