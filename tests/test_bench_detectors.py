"""`scripts/bench detectors`: what it counts, and what a call with a mistake says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actloc import experiment
from scripts.benchmarks.detectors import CONFIGS, DATA, Data, data_of, main, measured, table
from tests.toy import ROOT


def test_a_video_costs_what_all_of_its_windows_cost_and_a_step_sees_whole_windows() -> None:
    costs = {}
    for steps in (128, 224):  # one window, and two that share a quarter
        typical = Data(24, 5, steps, 2, 17.8)
        costs[steps] = measured(["learnable_tadtr", "learnable_tridet"], 1, typical)
    (one, whole), (two, longer) = costs[128], costs[224]
    assert two.multiply_adds == 2 * one.multiply_adds
    assert longer.multiply_adds == whole.multiply_adds  # both are padded to as many steps
    config = experiment.load("learnable_tadtr", [])
    assert one.window_steps == config.training.batch_size * config.features.max_steps
    detector = config.detector.build(24, 5, config.features.max_steps)
    assert one.parameters == sum(parameter.numel() for parameter in detector.parameters())
    assert "| `learnable_tridet` |" in table([one, whole])


def test_every_config_of_the_tables_has_data() -> None:
    assert {id(data_of(name)) for name in CONFIGS} == {id(DATA["hapt"]), id(DATA["learnable"])}
    assert all(experiment.load(name, []).run.name == name for name in CONFIGS)


def test_the_command_prints_and_writes_the_table_on_data_that_are_named(tmp_path: Path) -> None:
    arguments = "learnable_actionformer", "--steps", "1", "--data", "6,2,40,2,8", "--output", str(tmp_path / "b.json")
    command = [sys.executable, "-m", "scripts.benchmarks.detectors", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert row["config"] == "learnable_actionformer"
    assert row["step_s"] >= row["fastest_step_s"] > 0
    assert "`learnable_actionformer`" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("thumos14_i3d_tridet",), "--data CHANNELS"),
        (("learnable_tridet", "--data", "6,2"), "found 6,2"),
        (("learnable_tridet", "--steps", "0"), "--steps is below 1"),
        (("learnable_tridte",), "learnable_tridet"),
    ],
)
def test_mistakes_are_errors_of_the_user(
    arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err
