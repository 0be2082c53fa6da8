"""What a view and a training step of the recognition networks cost, in counts, beside what was recorded of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.benchmarks import recognition
from scripts.benchmarks.counting import count, forward_flops
from scripts.benchmarks.recognition import CASES, Case, view_flops

by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.partition(",")[0])


@by_case
def test_a_view_needs_the_arithmetic_that_was_recorded(case: Case) -> None:
    assert view_flops(case) == pytest.approx(case.view_gflop * 1e9, rel=0.001)


@by_case
def test_a_toy_costs_what_its_clips_cost(case: Case) -> None:
    recognizer, clips = case.small().recognizer(), case.small().clips()
    one, two = (forward_flops(lambda views=views: recognizer(views)) for views in (clips, clips.repeat(2, 1, 1, 1, 1)))
    assert two == 2 * one > 0
    assert view_flops(case.small()) == pytest.approx(one, rel=0.05), "on a CPU it is counted while it is computed"


@pytest.mark.slow
@by_case
def test_a_step_keeps_less_for_the_backward_pass_than_was_recorded(case: Case) -> None:
    recognizer, clips = case.recognizer().train(), case.clips()
    assert count(recognizer, lambda: recognition.loss(recognizer, clips)).saved_bytes <= 0.95 * case.saved_mb * 1e6


@by_case
def test_a_timed_step_computes_the_gradients_of_every_weight(case: Case) -> None:
    recognizer, clips = case.small().recognizer(), case.small().clips()
    torch.manual_seed(0)
    recognition._step(recognizer.train(), clips, "float32")()
    assert all(weight.grad is not None for weight in recognizer.parameters())


@pytest.mark.slow
def test_the_benchmark_writes_every_number_of_both_networks(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "scripts.benchmarks", "recognition", "--toy", "--output", str(output)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    written = json.loads(output.read_text())
    assert written["gflop_per_s"] > 0
    names = [result["name"] for result in written["results"]]
    assert len(names) == len(set(names)) >= 16
    assert all(result["value"] > 0 for result in written["results"])
    assert all(case.name in printed for case in CASES)
