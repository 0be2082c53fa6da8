"""Every detector's criterion keeps an optimizer step whole, however it is cut into passes and processes.

One whose step weight depends on the network's outputs cannot, says so, and counts call by call.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actloc.detectors import temporalmaxer
from actloc.detectors.base import DetectorConfig
from actloc.detectors.base_network import Detector
from actloc.layers.drop_path import AffineDropPath, DropPath
from actloc.settings import parts
from actloc.structures import Targets
from tests.golden.cases import drawn, padded

CHANNELS, CLASSES, STEPS = 6, 3, 64
CONFIGS: dict[str, DetectorConfig] = {
    name: parts.find("detectors", name).Config.small() for name in parts.available("detectors")
}
BY_COST = temporalmaxer.Config.model_validate({**CONFIGS["temporalmaxer"].model_dump(), "kept_share": 0.5})
VIDEOS = [drawn(seed, CHANNELS, length) for seed, length in enumerate((37, 21, 64, 9))]
TARGETS = [
    Targets(torch.tensor([[2.0, 5.0], [8.0, 16.0], [3.0, 34.0]]), torch.tensor([0, 1, 2])),
    Targets(torch.tensor([[4.0, 12.0]]), torch.tensor([1])),
    Targets(torch.tensor([[10.0, 50.0], [20.0, 24.0]]), torch.tensor([2, 0])),
    Targets.none(),
]
CUTS = [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0], [1], [2], [3]]]


def build(config: DetectorConfig) -> Detector:
    """The detector in training, without what draws at random."""
    torch.manual_seed(0)
    detector = config.build(CHANNELS, CLASSES, STEPS).train()
    for module in detector.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, AffineDropPath | DropPath):
            module.rate = 0.0
    return detector


def follows(config: DetectorConfig) -> bool:
    return build(config).criterion.weight_follows_from_targets


EVERY = {**CONFIGS, "temporalmaxer by cost": BY_COST}
weighed = pytest.mark.parametrize("config", [pytest.param(one, id=name) for name, one in EVERY.items() if follows(one)])
counted = pytest.mark.parametrize(
    "config", [pytest.param(one, id=name) for name, one in EVERY.items() if not follows(one)]
)
every = pytest.mark.parametrize("config", [pytest.param(one, id=name) for name, one in EVERY.items()])


def losses_of(detector: Detector, numbers: list[int]) -> dict[str, Tensor]:
    """The losses of one pass over these videos."""
    steps = detector.padded_steps(max(VIDEOS[number].shape[1] for number in numbers))
    batch = padded([VIDEOS[number] for number in numbers], steps)
    return detector.losses(*batch, [TARGETS[number] for number in numbers])


def weight_of(detector: Detector, passes: list[list[int]]) -> float:
    lengths = [[VIDEOS[number].shape[1] for number in numbers] for numbers in passes]
    targets = [[TARGETS[number] for number in numbers] for numbers in passes]
    return sum(map(detector.criterion.weight_of, lengths, targets))


@dataclass
class Taken:
    """What a step was minimising, its gradients, and the state after it."""

    losses: dict[str, float]
    gradients: list[Any]
    state: dict[str, float]


def taken(detector: Detector, passes: list[list[int]], weight: float) -> Taken:
    detector.criterion.start_step(weight)
    announced = detector.criterion.training_state()
    sums: dict[str, float] = {}
    for numbers in passes:
        losses = losses_of(detector, numbers)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item()
    assert detector.criterion.training_state() == announced, "once a step is announced, calls leave the state alone"
    return Taken(sums, [weight.grad for weight in detector.parameters()], announced)


@weighed
@pytest.mark.parametrize("passes", CUTS[1:], ids=str)
def test_accumulated_passes_are_one_pass_over_all_videos(config: DetectorConfig, passes: list[list[int]]) -> None:
    whole, cut = build(config), build(config)
    expected = taken(whole, CUTS[0], weight_of(whole, CUTS[0]))
    found = taken(cut, passes, weight_of(cut, passes))
    assert found.state == expected.state
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    scale = max(gradient.abs().max().item() for gradient in expected.gradients)
    for ours, theirs in zip(found.gradients, expected.gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6 * scale)


@weighed
def test_processes_that_share_a_step_end_it_in_the_same_state(config: DetectorConfig) -> None:
    alone, *processes = (build(config) for _ in range(4))
    shares: list[list[list[int]]] = [[[0, 1], [3]], [[2]], []]  # the last process has no video
    total = sum(weight_of(process, share) for process, share in zip(processes, shares, strict=True))
    assert total == weight_of(alone, CUTS[0])
    expected = taken(alone, CUTS[0], total)
    found = [taken(process, share, total) for process, share in zip(processes, shares, strict=True)]
    assert all(one.state == expected.state for one in found)
    for name, loss in expected.losses.items():
        assert sum(one.losses.get(name, 0.0) for one in found) == pytest.approx(loss, rel=1e-5)


@weighed
def test_a_call_without_an_announced_step_is_a_step(config: DetectorConfig) -> None:
    called, announced = build(config), build(config)
    losses_of(called, [0, 1, 2, 3])
    announced.criterion.start_step(weight_of(announced, CUTS[0]))
    assert called.criterion.training_state() == announced.criterion.training_state()


@every
def test_losses_do_not_depend_on_what_is_left_out_to_learn_from(config: DetectorConfig) -> None:
    """In float64: gradients, too, of weights that nothing in the batch moves, which are zeros and not missing."""
    if config.name == "etad":
        pytest.skip("draws its candidates at every call")
    for numbers in ([0, 1, 2, 3], [3]):
        losses, gradients = [], []
        for is_whole in (True, False):
            detector = build(config).double()
            targets = [TARGETS[number] for number in numbers]
            features, mask = padded([VIDEOS[number] for number in numbers], detector.padded_steps(STEPS))
            inputs = features.double(), mask
            learned = detector(*inputs) if is_whole else detector.learning_outputs(*inputs, targets)
            losses.append(detector.criterion(learned, targets))
            torch.stack(list(losses[-1].values())).sum().backward()  # type: ignore[no-untyped-call]
            gradients.append([weight.grad for weight in detector.parameters()])
        for name, loss in losses[0].items():
            torch.testing.assert_close(losses[1][name], loss, rtol=1e-6, atol=0)  # sums of losses are float32
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@counted
def test_where_weights_depend_on_outputs_every_call_counts(config: DetectorConfig) -> None:
    criterion = (detector := build(config)).criterion
    states = [criterion.training_state()]
    for _ in range(2):
        losses_of(detector, [0, 1])
        states.append(criterion.training_state())
    assert states[0] == {} or states[0] != states[1] != states[2]


@every
def test_evaluating_losses_moves_nothing(config: DetectorConfig) -> None:
    detector = build(config).eval()
    before = detector.criterion.training_state()
    losses_of(detector, [0, 1])
    assert detector.criterion.training_state() == before


@every
def test_a_resumed_criterion_goes_on_as_the_one_it_came_from(config: DetectorConfig) -> None:
    first, resumed = build(config), build(config)
    losses_of(first, [0, 1])
    state = json.loads(json.dumps(first.criterion.training_state()))  # as a checkpoint holds it
    resumed.criterion.load_training_state(state)
    assert resumed.criterion.training_state() == first.criterion.training_state()
    ours, theirs = losses_of(resumed, [2]), losses_of(first, [2])
    assert {name: loss.item() for name, loss in ours.items()} == {name: loss.item() for name, loss in theirs.items()}
    assert resumed.criterion.training_state() == first.criterion.training_state()
