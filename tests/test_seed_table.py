"""The table of seeds and averages: which runs it trains, what it reads from them, and its means."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import seed_table

CONFIG = "configs/learnable_actionformer.yaml"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that would have run; a run's mAP at a tIoU is the tIoU itself, with raw weights it is half of it."""
    seen = []

    def actloc(*arguments: str) -> dict[str, Any]:
        seen.append(arguments)
        share = 0.5 if "evaluation.weights=raw" in arguments else 1.0
        results = {"tious": seed_table.TIOUS, "mean_ap": [share * tiou for tiou in seed_table.TIOUS]}
        (tmp_path / "metrics.json").write_text(json.dumps(results))
        return {"event": "done", "path": str(tmp_path / "metrics.json")}

    monkeypatch.setattr(seed_table, "actloc", actloc)
    return seen


def test_every_seed_trains_with_every_average_and_the_same_settings(commands: list[tuple[str, ...]]) -> None:
    seed_table.measure(CONFIG, ["run.name=half", "training.precision=bfloat16"])
    assert commands[0] == ("prepare", CONFIG, "run.name=half", "training.precision=bfloat16")
    trained = [command for command in commands if command[0] == "train"]
    assert {command[4:] for command in trained} == {
        (f"run.name=half_seed{seed}_{name}", f"run.seed={seed}", *average)
        for seed in (0, 1, 2)
        for name, average in seed_table.AVERAGES.items()
    }
    assert all(command[1:4] == commands[0][1:] for command in trained)
    scored = [command[1:3] for command in commands if command[0] == "eval"]
    assert scored.count(("ckpt/half_seed1_0.99", "evaluation.weights=averaged")) == 1
    assert sum("raw" in weights for _, weights in scored) == 3


@pytest.mark.usefixtures("commands")
def test_the_table_has_both_averages_of_every_kind_of_weights() -> None:
    lines = seed_table.table(seed_table.measure(CONFIG, [])).splitlines()
    assert lines[0] == "| weights | seed 0 | seed 1 | seed 2 | mean |"
    assert lines[2] == "| raw | 25.00 / 36.25 | 25.00 / 36.25 | 25.00 / 36.25 | 25.00 / 36.25 |"
    assert lines[3:] == [
        f"| {name} | 50.00 / 72.50 | 50.00 / 72.50 | 50.00 / 72.50 | 50.00 / 72.50 |" for name in seed_table.AVERAGES
    ]


def test_a_failing_command_ends_the_script_with_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        seed_table.actloc("eval", "no_such_run")
    assert ended.value.code == 2
    assert "no_such_run" in capfd.readouterr().err
