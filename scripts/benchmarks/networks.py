"""The official shapes: an ActionFormer for THUMOS14, one for ActivityNet, an ETAD; with batches of the real lengths."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from actloc.detectors import etad
from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.detectors.base_network import Detector
from actloc.detectors.etad import network as etad_network
from actloc.layers.precision import computing_in
from actloc.layers.proposal_head import NUM_BINS
from actloc.ops.roi_align import roi_align
from actloc.structures import Targets

LENGTHS_FILE = Path(__file__).with_name("thumos_lengths.txt")
SHORTEST_CROP = 0.9  # official: training keeps 0.9 to 1.0 of a video
THUMOS_STEPS, THUMOS_BATCH = 2304, 2
ANET_STEPS, ANET_BATCH = 192, 16
ETAD_STEPS, ETAD_BATCH = 128, 16


@dataclass(frozen=True)
class Step:
    """A detector with one padded batch."""

    detector: Detector
    features: Tensor
    mask: Tensor
    targets: list[Targets]

    def loss(self) -> Tensor:
        """The loss that training minimises."""
        return torch.stack(list(self.detector.losses(self.features, self.mask, self.targets).values())).sum()

    def loss_of_all_points(self) -> Tensor:
        """The same loss, though all outputs are computed, also those that it does not depend on."""
        outputs = self.detector(self.features, self.mask)
        return torch.stack(list(self.detector.criterion(outputs, self.targets).values())).sum()

    def training(self, precision: str) -> Callable[[], None]:
        """Forward and backward pass in `precision`, as in training, to fresh gradients."""

        def train() -> None:
            self.detector.zero_grad(set_to_none=True)
            with computing_in(precision, self.features.device):
                loss = self.loss()
            loss.backward()  # type: ignore[no-untyped-call]

        return train

    def evaluation(self, precision: str) -> Callable[[], None]:
        """The network alone in `precision`, without gradients."""

        def evaluate() -> None:
            with torch.no_grad(), computing_in(precision, self.features.device):
                self.detector(self.features, self.mask)

        return evaluate


def thumos_lengths(subset: str) -> list[int]:
    """Lengths of the videos of `validation` (which THUMOS14 trains on) or `test`, in steps, ascending."""
    lengths: dict[str, list[int]] = {}
    name = ""
    for line in LENGTHS_FILE.read_text().splitlines():
        if line.startswith("#"):
            continue
        if ":" in line:
            name, _, line = line.partition(":")  # noqa: PLW2901 - what follows the name are lengths too
        lengths.setdefault(name, []).extend(map(int, line.split()))
    return lengths[subset]


def drawn_batches(epochs: int, seed: int = 0) -> list[list[int]]:
    """The lengths of THUMOS14 training batches: shuffled, cropped at random, in pairs."""
    generator = random.Random(seed)
    batches = []
    for _ in range(epochs):
        lengths = [_cropped(length, generator) for length in thumos_lengths("validation")]
        generator.shuffle(lengths)
        batches += [lengths[i : i + THUMOS_BATCH] for i in range(0, len(lengths), THUMOS_BATCH)]
    return batches


def _cropped(length: int, generator: random.Random) -> int:
    if length > THUMOS_STEPS:
        return THUMOS_STEPS
    return generator.randint(round(SHORTEST_CROP * length), length)


def thumos_detector() -> ActionFormer:
    """The defaults: I3D features, 20 classes."""
    torch.manual_seed(0)
    return Config().build(2048, 20, THUMOS_STEPS)


def anet_detector() -> ActionFormer:
    """ActivityNet-1.3 with TSP features, class-agnostic."""
    torch.manual_seed(0)
    config = Config(
        dim=256,
        windows=(7, 7, 7, 7, 7, -1),
        position_embedding=True,
        label_smoothing=0.1,
        loss_weight=2.0,
        initial_normaliser=200,
    )
    return config.build(512, 1, ANET_STEPS)


def step(detector: ActionFormer, in_channels: int, lengths: list[int], num_steps: int | None = None) -> Step:
    """Noise for videos of `lengths`, padded to `num_steps` or as the detector needs, on the detector's device."""
    padded = num_steps or detector.padded_steps(max(lengths))
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    features = torch.randn(len(lengths), in_channels, padded, generator=generator) * mask[:, None]
    targets = [_actions(length, detector.num_classes, generator) for length in lengths]
    return _on_device(Step(detector, features, mask, targets))


def _on_device(step: Step) -> Step:
    device = next(step.detector.parameters()).device
    moved = [Targets(one.segments.to(device), one.labels.to(device)) for one in step.targets]
    return Step(step.detector, step.features.to(device), step.mask.to(device), moved)


def _actions(length: int, num_classes: int, generator: torch.Generator) -> Targets:
    """Fifteen actions of up to a tenth of the video, about as in THUMOS14."""
    starts = torch.rand(15, generator=generator) * 0.9 * length
    sizes = (0.01 + 0.09 * torch.rand(15, generator=generator)) * length
    labels = torch.randint(num_classes, (15,), generator=generator)
    return Targets(torch.stack((starts, starts + sizes), dim=1), labels)


def etad_detector(num_steps: int) -> etad_network.Etad:
    """ETAD for ActivityNet-1.3 with TSP features."""
    torch.manual_seed(0)
    return etad.Config(official_balance=True).build(512, 1, num_steps)


def etad_step(detector: etad_network.Etad, num_videos: int) -> Step:
    """Noise for videos of one action each, from a quarter of the video to a half, about as in ActivityNet."""
    generator, num_steps = torch.Generator().manual_seed(0), detector.max_steps
    features = torch.randn(num_videos, 512, num_steps, generator=generator)
    starts, sizes = torch.rand(2, num_videos, generator=generator) * torch.tensor([[0.5], [0.25]]) * num_steps
    segments = torch.stack((starts, starts + sizes + 0.25 * num_steps), dim=1)
    targets = [Targets(one[None], torch.zeros(1, dtype=torch.long)) for one in segments]
    return _on_device(Step(detector, features, torch.ones(num_videos, num_steps, dtype=torch.bool), targets))


def etad_roi_align(detector: etad_network.Etad, num_videos: int, precision: str) -> Callable[[], None]:
    """ROI align of one stage of a training step, forward and backward."""
    device, config = next(detector.parameters()).device, detector.config
    anchors = detector.train().sampled(num_videos) / detector.max_steps
    segments = etad_network.extended(anchors) * detector.max_steps
    shape = num_videos, config.head_dim, detector.max_steps
    features = torch.randn(shape, dtype=getattr(torch, precision), device=device, requires_grad=True)
    gradient = torch.randn_like(roi_align(features, segments, NUM_BINS))

    def align() -> None:
        torch.autograd.grad(roi_align(features, segments, NUM_BINS), features, gradient)

    return align
