"""What a run leaves for TensorBoard, its log and the terminal: numbers, events, and what to do next."""

import json
import signal
from datetime import datetime
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actloc.reports.runs import read_losses
from tests.toy import actloc, copy_toy, training_rows

VALIDATED = ("training.validation_subset=test", "training.validate_every_epochs=1")
STEPS = 8


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def stopped_and_resumed(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after three steps, and killed after six."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("logged") / "toy")
    assert actloc(folder, "train", "toy.yaml", *VALIDATED, ACTLOC_FAULT="step:3:term").returncode == 143
    killed = actloc(folder, "train", "toy.yaml", *VALIDATED, ACTLOC_FAULT="step:3:kill")
    assert killed.returncode == -signal.SIGKILL
    done = actloc(folder, "train", "toy.yaml", *VALIDATED)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stderr)
    return folder


def test_tensorboard_has_every_step_once_with_all_it_is_asked_for(stopped_and_resumed: Path) -> None:
    run = stopped_and_resumed / "ckpt/toy"
    events, logged = board(run / "tb"), training_rows(run)
    names = events.Tags()["scalars"]
    every_step = [
        *("train/loss/total", "train/loss/classification", "train/loss/regression"),
        *("train/gradient_norm", "train/learning_rate", "train/epoch"),
        *("speed/steps_per_s", "speed/seconds_per_step", "time/waiting_for_data", "memory/resident_gb"),
    ]
    for name in every_step:
        assert [one.step for one in events.Scalars(name)] == list(range(1, STEPS + 1)), name
    for step, row in enumerate([row for row in logged if row["event"] == "step"]):
        for name in (*every_step[:5],):
            assert events.Scalars(name)[step].value == pytest.approx(row[name], rel=1e-6)
    for tiou in ("0.30", "0.50", "0.70"):
        assert [one.step for one in events.Scalars(f"validation/mAP/{tiou}")] == [4, 8]
    assert "validation/average_mAP" in names
    settings = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    detector:\n" in settings
    assert "learning_rate: 0.005" in settings


def test_the_log_has_the_events_with_their_times_in_order(stopped_and_resumed: Path) -> None:
    listed = rows(stopped_and_resumed / "ckpt/toy")
    events = [(row["event"], row["step"]) for row in listed if row["event"] not in ("step", "validation")]
    assert events == [
        *[("start", 0), ("checkpoint", 3), ("stop", 3), ("resume", 3)],
        *[("checkpoint", 4), ("resume", 4), ("checkpoint", 8), ("finish", 8)],
    ]
    by_event = {str(row["event"]): row for row in listed}
    assert (by_event["start"]["steps"], by_event["start"]["samples"]) == (STEPS, 4)
    assert (by_event["stop"]["signal"], by_event["stop"]["checkpoint"]) == ("SIGTERM", "ckpt_000003")
    assert by_event["resume"]["checkpoint"] == "ckpt_000004"
    times = [datetime.fromisoformat(str(row["time"])) for row in listed]
    assert times == sorted(times)
    assert [row["epoch"] for row in listed if row["event"] == "step"] == [step / 4 for step in range(1, STEPS + 1)]
    losses = read_losses(stopped_and_resumed / "ckpt/toy/log.jsonl")  # for the report's curve
    assert [step for step, _ in losses] == list(range(1, STEPS + 1))


def test_the_last_words_are_time_losses_validation_and_what_to_do(stopped_and_resumed: Path) -> None:
    said = (stopped_and_resumed / "said.txt").read_text()
    wanted = (
        "8 steps (2 epochs) in 0:00:",
        " at its highest and ",
        "Validation average_mAP in percent: ",
        "The loss of 8 steps says little. If `eval` gives low scores, train longer: schedule.epochs=2 run.name=ANOTHER",
        "Next: actloc eval ckpt/toy",
    )
    places = [said.index(one) for one in wanted]
    assert places == sorted(places)


def test_results_are_for_tensorboard_beside_them_and_replaced(stopped_and_resumed: Path, tmp_path: Path) -> None:
    folder = copy_toy(stopped_and_resumed, tmp_path / "toy")
    training = sorted((folder / "ckpt/toy/tb").iterdir())
    for _ in range(2):
        assert actloc(folder, "eval", "ckpt/toy").returncode == 0
    results = json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())
    events = board(folder / "ckpt/toy/eval/test")
    for name, value in [
        *(("eval/average_mAP", results["average_map"]), ("eval/mAP/0.30", results["mean_ap"][0])),
        ("eval/mAP/0.70", results["mean_ap"][-1]),
    ]:
        assert [(one.step, one.value) for one in events.Scalars(name)] == [(STEPS, pytest.approx(value, rel=1e-6))]
    assert sorted((folder / "ckpt/toy/tb").iterdir()) == training
    assert len(list((folder / "ckpt/toy/eval/test").glob("events.out.tfevents.*"))) == 1
    assert actloc(folder, "eval", "ckpt/toy", "--predictions", "ckpt/toy/eval/test/predictions.json").returncode == 0
    assert not list((folder / "ckpt/toy/eval/test-file").glob("events.out.tfevents.*"))
    assert actloc(folder, "train", "toy.yaml", *VALIDATED, "--overwrite").returncode == 0
    assert not (folder / "ckpt/toy/eval").exists()


def test_a_run_says_from_which_config_and_data_it_is_made(stopped_and_resumed: Path, tmp_path: Path) -> None:
    folder = copy_toy(stopped_and_resumed, tmp_path / "toy")
    made_of = {"task": "localization", "dataset": "custom", "network": "actionformer"}
    expected = {"config": "toy.yaml", **made_of, "videos": 4, "actions": 4, "classes": 2}
    assert json.loads((folder / "ckpt/toy/environment.json").read_text())["run"] == expected
    (folder / "ckpt/toy/finished.json").unlink()
    assert actloc(folder, "train", "ckpt/toy").returncode == 0  # by its own settings
    assert json.loads((folder / "ckpt/toy/environment.json").read_text())["run"] == expected
    line = next(one for one in actloc(folder, "ls", "runs").stdout.splitlines() if "ckpt/toy" in one)
    for cell in ("toy.yaml", "custom, 4 videos", "actionformer", "finished, 2 epochs, 8 steps", "not scored yet"):
        assert f"  {cell} " in line


def test_eval_ends_with_numbers_limits_places_and_what_is_next(stopped_and_resumed: Path, tmp_path: Path) -> None:
    folder = copy_toy(stopped_and_resumed, tmp_path / "toy")
    done = actloc(folder, "eval", "ckpt/toy")
    wanted = (
        "The test set is small",
        "Wrote ckpt/toy/eval/test/metrics.json",
        "`actloc predict` shows what reaches the score thresholds of best F1 on these 2 videos of test",
        "Next: actloc report ckpt/toy",
    )
    places = [done.stderr.index(one) for one in wanted]
    assert places == sorted(places)
    reported = actloc(folder, "report", "ckpt/toy").stderr
    assert reported.endswith("To apply the run to new videos: actloc predict ckpt/toy VIDEO\n")
    other = actloc(folder, "eval", "ckpt/toy", "evaluation.weights=raw")  # of other settings: predict does not use them
    assert "`actloc predict` shows" not in other.stderr
