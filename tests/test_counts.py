"""What a THUMOS training step may cost, in counts, which other jobs on the machine cannot change.

The official figures were recorded from the official code.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from actloc.detectors import actionformer, temporalmaxer, tridet
from actloc.structures import Targets
from scripts.benchmarks import networks
from scripts.benchmarks.counting import Counts, at_lengths, count, forward_flops
from scripts.benchmarks.network_results import thumos_counts
from scripts.benchmarks.results import best_seconds

OFFICIAL_KERNELS, OFFICIAL_FLOPS, OFFICIAL_SAVED_BYTES = 4104, 514e9, 1314e6


@pytest.fixture(scope="module")
def counts() -> tuple[Counts, Counts]:
    """Of a full step and of the mean batch, the whole network run on short videos."""
    return thumos_counts((320, 640), networks.THUMOS_STEPS, networks.drawn_batches(10))


def test_a_step_whose_heads_see_all_points_needs_the_arithmetic_that_was_recorded(
    counts: tuple[Counts, Counts],
) -> None:
    detector = networks.thumos_detector().train()
    everywhere = []
    for length in (320, 640):
        step = networks.step(detector, 2048, [length] * 2, length)
        everywhere.append((length, count(detector, step.loss_of_all_points).flops))
    flops = at_lengths(*everywhere, [networks.THUMOS_STEPS])
    assert flops == pytest.approx(OFFICIAL_FLOPS, rel=0.01)
    assert counts[0].flops <= 0.86 * flops, "the regression head sees only the points that learn, and their neighbours"


def test_a_step_starts_few_kernels(counts: tuple[Counts, Counts]) -> None:
    assert counts[1].kernels <= 1500 < OFFICIAL_KERNELS


def test_trimming_saves_a_quarter_of_the_arithmetic(counts: tuple[Counts, Counts]) -> None:
    assert counts[1].flops <= 0.75 * OFFICIAL_FLOPS


def test_a_step_keeps_little_for_the_backward_pass(counts: tuple[Counts, Counts]) -> None:
    assert counts[1].saved_bytes <= 0.60 * OFFICIAL_SAVED_BYTES


@pytest.mark.slow
def test_costs_are_linear_in_the_length(counts: tuple[Counts, Counts]) -> None:
    detector = networks.thumos_detector().train()
    measured = count(detector, networks.step(detector, 2048, [2304, 2304]).loss)
    assert counts[0].flops == pytest.approx(measured.flops, rel=0.01)
    assert counts[0].saved_bytes == pytest.approx(measured.saved_bytes, rel=0.005)
    # the counted videos are short: their coarse levels have few rows, whose products are more kernels than convolutions
    assert measured.kernels - 20 <= counts[0].kernels <= measured.kernels + 60


def test_the_lengths_are_those_of_thumos() -> None:
    validation, test = networks.thumos_lengths("validation"), networks.thumos_lengths("test")
    assert (len(validation), len(test)) == (200, 213)
    assert sum(min(length, 2304) for length in validation) / 200 / 2304 == pytest.approx(0.52, abs=0.005)


def test_a_depthwise_weight_gradient_costs_as_much_as_its_forward_pass() -> None:
    conv = nn.Conv1d(8, 8, 3, padding=1, groups=8, bias=False)
    features = torch.randn(2, 8, 16, requires_grad=True)
    counted = count(conv, lambda: conv(features).sum())
    assert counted.flops == 3 * (2 * 2 * 16 * 8 * 3)


def test_an_lstm_costs_what_its_products_cost() -> None:
    lstm = nn.LSTM(8, 8, batch_first=True)
    features = torch.randn(2, 32, 8, requires_grad=True)

    def loss() -> Tensor:
        outputs: Tensor = lstm(features)[0]
        return outputs.sum()

    counted = count(lstm, loss)
    # where a machine has no kernel for it, the products are counted; the first state needs no gradient
    assert counted.flops == pytest.approx(3 * (2 * 2 * 32 * 2 * 32 * 8), rel=0.02)


def test_a_step_of_etad_sees_few_candidates_and_its_evaluation_all() -> None:
    detector = networks.etad_detector(16)
    assert len(detector.candidates) == 136
    step = networks.etad_step(detector.train(), 2)
    step.training("float32")()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    flops = [forward_flops(networks.etad_step(detector.eval(), videos).evaluation("float32")) for videos in (1, 2)]
    assert flops[1] == 2 * flops[0] > 0
    networks.etad_roi_align(detector, 2, "float32")()


def test_storages_are_counted_once_and_parameters_never() -> None:
    linear = nn.Linear(4, 4, bias=False)
    features = torch.randn(8, 4)

    def loss() -> Tensor:
        return (linear(features) + linear(features)).sum()

    counted = count(linear, loss)
    assert counted.saved_bytes == 8 * 4 * 4


def test_the_step_of_each_precision_is_the_same_as_in_training() -> None:
    detector = networks.anet_detector().train()
    step = networks.step(detector, 512, [64])
    gradients = []
    for precision in ("float32", "bfloat16"):
        step.training(precision)()
        gradients.append([parameter.grad for parameter in detector.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == len(list(detector.parameters()))
    assert all(gradient.dtype == torch.float32 for gradient in gradients[1])
    assert any((exact != rounded).any() for exact, rounded in zip(*gradients, strict=True))


def test_the_time_of_a_gpu_is_the_shortest_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 7.0, 10.0, 13.0])  # milliseconds of the events of two runs

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.met = next(clock)

        def synchronize(self) -> None:
            self.is_met = True

        def elapsed_time(self, end: "Event") -> float:
            assert end.is_met
            return end.met - self.met

    monkeypatch.setattr(torch.cuda, "Event", Event)
    runs: list[None] = []
    assert best_seconds(lambda: runs.append(None), 2, torch.device("cuda")) == pytest.approx(0.003)
    assert len(runs) == 3


@pytest.mark.slow
def test_the_benchmark_writes_every_number_it_prints(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "scripts.benchmarks", "--toy", "--output", str(output)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    written = json.loads(output.read_text())
    assert written["gflop_per_s"] > 0
    names = [result["name"] for result in written["results"]]
    assert len(names) == len(set(names)) >= 20
    for what in ("THUMOS step, mean", "ActivityNet step,", "THUMOS evaluation", "peak memory"):
        assert sum(what in name and "float32" in name for name in names) >= 1, what
        assert sum(what in name and "bfloat16" in name for name in names) >= 1, what
    for what in ("ETAD step, float32", "ETAD step: arithmetic", "ETAD evaluation of a video"):
        assert any(what in name for name in names), what
    assert sum("part of ROI align" in name for name in names) >= 2
    assert all(result["value"] is None or result["value"] > 0 for result in written["results"])
    assert "actloc / recorded" in printed


@pytest.mark.parametrize(("module", "share"), [(actionformer, 0.9), (temporalmaxer, 0.8), (tridet, 0.96)])
def test_a_step_computes_few_of_the_offsets_that_no_point_learns(module: ModuleType, share: float) -> None:
    detector = module.Config(dim=16, **({"neck_norm": "channel"} if module is temporalmaxer else {})).build(16, 4, 256)
    inputs = torch.randn(1, 16, 256, generator=torch.Generator().manual_seed(0)), torch.ones(1, 256, dtype=torch.bool)
    targets = [Targets(torch.tensor([[40.0, 52.0]]), torch.tensor([1]))]
    everywhere = forward_flops(lambda: detector.criterion(detector(*inputs), targets))
    assert forward_flops(lambda: detector.losses(*inputs, targets)) < share * everywhere
