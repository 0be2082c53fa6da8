"""Runs that were made before settings, checkpoints and results named a task: they go on and are scored as before."""

import json
import re
import signal
from pathlib import Path

import yaml

from actloc import files
from tests.end_to_end.test_training_faults import final_state
from tests.toy import TEST_VIDEOS, actloc, copy_toy, predicts_as_it_scored


def without_task(run: Path) -> None:
    """Takes the task from everything in a run, as it was written before there were tasks."""
    text, count = re.subn(r"^task:\n(  .*\n)+", "", (run / "config.yaml").read_text(), flags=re.MULTILINE)
    assert count == 1
    assert "task" not in yaml.safe_load(text)
    (run / "config.yaml").write_text(text)
    for checkpoint in run.glob("ckpt_*"):
        state = json.loads((checkpoint / "state.json").read_text())
        assert state["about"]["settings"].pop("task.name") == "localization"
        files.write_json(checkpoint / "state.json", state)
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["state.json"] = files.sha256_of_file(checkpoint / "state.json")
        files.write_json(checkpoint / "manifest.json", manifest)
    for metrics in run.glob("eval/*/metrics.json"):
        results = json.loads(metrics.read_text())
        assert results.pop("task") == "localization"
        metrics.write_text(json.dumps(results))


def test_an_old_run_is_scored_listed_reported_converted_and_applied(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "ckpt/toy").returncode == 0
    metrics = folder / "ckpt/toy/eval/test/metrics.json"
    before = json.loads(metrics.read_text())
    without_task(folder / "ckpt/toy")
    listed = actloc(folder, "ls", "runs")
    assert re.search(r"ckpt/toy .* toy.yaml +custom.* actionformer +finished, .* test: average mAP", listed.stdout)
    for command in (
        ("report", "ckpt/toy"),
        ("verify", "ckpt/toy"),
        ("train", "toy.yaml"),
        ("eval", "toy.yaml"),
        ("convert", "ckpt/toy", "official.pth.tar"),
        ("eval", "ckpt/toy"),
    ):
        done = actloc(folder, *command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    after = json.loads(metrics.read_text())
    assert after["mean_ap"] == before["mean_ap"]
    assert after["task"] == "localization"
    assert predicts_as_it_scored(folder, TEST_VIDEOS[1])


def test_an_old_run_that_was_killed_goes_on_to_the_same_bytes(encoded: Path, trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:6:kill").returncode == -signal.SIGKILL
    without_task(folder / "ckpt/toy")
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Resuming after step" in done.stderr
    found = final_state(folder)
    assert found == final_state(trained)
    state = json.loads((folder / "ckpt/toy" / found["last"] / "state.json").read_text())
    assert state["about"]["settings"]["task.name"] == "localization"
