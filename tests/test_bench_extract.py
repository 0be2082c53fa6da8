"""`scripts/bench extract` on the fastest encoder; its counts are those that the pipeline promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actloc import experiment
from scripts.benchmarks.extraction import CASES, flows_per_pair


@pytest.mark.slow
def test_the_benchmark_decodes_each_frame_once_and_writes_what_it_prints(tmp_path: Path) -> None:
    output = tmp_path / "extract.json"
    command = [sys.executable, "-m", "scripts.benchmarks.extraction", "--toy", "--only", "Efficient", "--no-memory"]
    done = subprocess.run([*command, "--output", str(output)], check=True, capture_output=True, text=True, timeout=280)
    rates = json.loads(output.read_text())["rates"]
    assert [(one["size"], one["items"]) for one in rates] == [("240p", 16), ("1080p", 16)]
    assert all(one["decodes_per_frame"] == 1 for one in rates)
    assert "EfficientNet-Lite0" in done.stdout


def test_each_pair_of_frames_has_its_flow_computed_once() -> None:
    by_name = {case.name: experiment.load(case.recipe, list(case.overrides)) for case in CASES}
    assert flows_per_pair(by_name["I3D RGB and TV-L1 flow"]) == 1
    assert flows_per_pair(by_name["I3D RGB"]) is None
