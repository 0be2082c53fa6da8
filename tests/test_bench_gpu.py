"""`scripts/bench gpu`: what it counts of a GPU's work, on a CPU what it writes, and what it says without a GPU."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from scripts.benchmarks.device_time import covered, noted_work
from scripts.benchmarks.gpu import main


def event(name: str, start: float, end: float, *, is_on_gpu: bool = True, is_label: bool = False) -> SimpleNamespace:
    """As torch's profiler gives them, in microseconds."""
    device, span = DeviceType.CUDA if is_on_gpu else DeviceType.CPU, SimpleNamespace(start=start, end=end)
    span.elapsed_us = lambda: end - start
    return SimpleNamespace(name=name, device_type=device, time_range=span, is_user_annotation=is_label)


def test_what_a_gpu_does_at_once_counts_once_and_copies_are_no_kernels() -> None:
    assert covered([(5, 6), (0, 2), (1, 4), (2, 3)]) == 5
    events = [
        event("product", 0, 2000),
        event("product", 3000, 4000),
        event("Memcpy HtoD (Pinned -> Device)", 1000, 3000),
        event("Optimizer.step", 0, 9000, is_label=True),
        event("cudaLaunchKernel", 0, 9000, is_on_gpu=False),
    ]
    work = noted_work(events, runs=2)
    assert (work.kernels, work.copies, work.busy_ms) == (1, 0.5, 2)
    assert work.longest[0] == ("product", 1, 1.5)


def test_on_a_cpu_toys_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    main(["--toy", "--device", "cpu", "--only", "waits,graphs,extraction", "--output", str(output)])
    written = json.loads(output.read_text())
    assert written["failed"] == []
    assert written["product_tflop_per_s"].keys() == {"float32", "tf32", "bfloat16"}
    parts = [row["part"] for row in written["rows"]]
    assert (parts.count("graphs"), parts.count("extraction")) == (4, 3)  # without graphs, which only a GPU has
    rate = next(row for row in written["rows"] if row["part"] == "extraction")
    assert rate["per_s"] == pytest.approx(1000 / rate["costs"]["ms"])
    assert rate["costs"]["work"] is None
    assert "of a product" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"), [((), "torch finds no GPU"), (("--only", "steps,graph"), "found graph, expected")]
)
def test_without_a_gpu_or_with_a_wrong_part_it_stops(
    arguments: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err
