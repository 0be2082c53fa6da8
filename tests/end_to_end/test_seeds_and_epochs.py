"""Two seeds and another learning rate, trained, validated on what is scored, compared: as a user does it."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest

from tests.toy import actloc, copy_toy

VALIDATED = ("training.validation_subset=test", "training.validate_every_epochs=1", "schedule.epochs=3")
RUNS = {
    "toy_seed0": ("run.seed=0",),
    "toy_seed1": ("run.seed=1", "machine.num_workers=0"),
    "slow": ("run.seed=0", "optimizer.learning_rate=1e-5"),
}


@pytest.fixture(scope="module")
def folder(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(encoded, tmp_path_factory.mktemp("seeds") / "toy")
    for name, settings in RUNS.items():
        for command in (("train", "toy.yaml", f"run.name={name}", *VALIDATED, *settings), ("eval", f"ckpt/{name}")):
            done = actloc(folder, *command)
            assert done.returncode == 0, done.stderr
            (folder / f"{name}.said").write_text(done.stderr)
    return folder


def test_the_seeds_are_one_row_and_the_other_run_is_not(folder: Path) -> None:
    done = actloc(folder, "report", *(f"ckpt/{name}" for name in RUNS), "--output", "compared")
    assert done.returncode == 0, done.stderr
    averages = [
        json.loads((folder / f"ckpt/toy_seed{seed}/eval/test/metrics.json").read_text())["average_map"]
        for seed in (0, 1)
    ]
    tables = (folder / "compared/tables.md").read_text()
    shown = f"{100 * mean(averages):.2f} ± {100 * stdev(averages):.2f}"
    (row,) = (line for line in tables.splitlines() if line.startswith("| toy\\_seed\\*, mean of 2 seeds"))
    assert row.endswith((f"| {shown} |", f"| **{shown}** |"))
    assert "paired percentile bootstrap over videos, 1000 draws with seed 0, the same for both runs" in tables
    page = (folder / "compared/report.html").read_text()
    assert "From run 1 to run 3" in page
    assert "toy_seed*, mean of 2 seeds" in page
    rows = (folder / "compared/tables.csv").read_text().splitlines()
    assert sum(",mAP," in line for line in rows) == 3
    printed = actloc(folder, "report", *(f"ckpt/{name}" for name in RUNS), "--format", "latex").stdout
    assert printed.startswith("% needs")
    assert f"{100 * mean(averages):.2f} $\\pm$ {100 * stdev(averages):.2f}" in printed


def test_last_and_best_epoch_are_shown_and_the_best_is_said_to_be_optimistic(folder: Path) -> None:
    said = (folder / "slow.said").read_text()
    assert "Validation on test during training, average mAP" in said
    assert "(the best, which is optimistic: it is chosen on the videos that are scored)" in said
    assert actloc(folder, "report", "ckpt/slow").returncode == 0
    page = (folder / "ckpt/slow/report.html").read_text()
    assert "Last and best epoch, validated on test" in page
    done = actloc(folder, "eval", "ckpt/slow", "evaluation.checkpoint=best")
    assert done.returncode == 0
    assert "The best epoch was chosen on test, which is scored: the results are optimistic." in done.stderr
    logged = [json.loads(line) for line in (folder / "ckpt/slow/log.jsonl").read_text().splitlines()]
    best = max(row["validation/average_mAP"] for row in logged if row["event"] == "validation")
    results = json.loads((folder / "ckpt/slow/eval/test-best/metrics.json").read_text())
    assert results["average_map"] == pytest.approx(best, abs=1e-9)
    assert results["trained"]["validated_on"] == "test"
