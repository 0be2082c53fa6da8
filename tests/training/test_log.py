"""The log of a run: rows with time and epoch, events, and the same numbers for TensorBoard, each step once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actloc.training.log import Pace, RunLog, memory


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def test_rows_have_the_time_in_utc_and_the_epochs_done(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # the log has milliseconds
    with RunLog(tmp_path, 0, steps_per_epoch=4) as log:
        log.note("start", 0, steps=8)
        log.write("step", 3, {"train/loss/total": 1.5})
        log.note("checkpoint", 4, checkpoint="ckpt_000004")
    start, step, checkpoint = rows(tmp_path)
    assert [row["event"] for row in rows(tmp_path)] == ["start", "step", "checkpoint"]
    assert (start["step"], start["steps"]) == (0, 8)
    assert (step["step"], step["epoch"], step["train/loss/total"]) == (3, 0.75, 1.5)
    assert (checkpoint["epoch"], checkpoint["checkpoint"]) == (1.0, "ckpt_000004")
    for row in (start, step, checkpoint):
        time = datetime.fromisoformat(str(row["time"]))
        assert time.utcoffset() == timedelta(0)
        assert before <= time <= datetime.now(UTC)


def test_tensorboard_has_the_numbers_the_epoch_and_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("run:\n  name: ä\n")
    with RunLog(tmp_path, 0, steps_per_epoch=2) as log:
        for step in (1, 2):
            log.write("step", step, {"train/loss/total": 1 / step, "speed/steps_per_s": 3.0})
        log.write("validation", 2, {"validation/mAP/0.50": 0.25})
    events = board(tmp_path / "tb")
    assert [(one.step, one.value) for one in events.Scalars("train/loss/total")] == [(1, 1.0), (2, 0.5)]
    assert [(one.step, one.value) for one in events.Scalars("train/epoch")] == [(1, 0.5), (2, 1.0)]
    assert [(one.step, one.value) for one in events.Scalars("validation/mAP/0.50")] == [(2, 0.25)]
    (text,) = events.Tensors("settings/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "    run:\n      name: ä\n"


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, steps_per_epoch=2) as log:
        log.note("start", 0)
        for step in (1, 2, 3):
            log.write("step", step, {"train/loss/total": 1.0})
        log.note("checkpoint", 3, checkpoint="ckpt_000003")
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"event": "step", "step": 4, "tr')  # cut off by a kill
    # TensorBoard reads its files by name: the second, the process, and a counter in which 10 comes before 9. A resumed
    # run has a process and a second of its own; here the first file is made older than the second of the other
    (first,) = (tmp_path / "tb").iterdir()
    first.rename(first.with_name("events.out.tfevents.0000000001"))
    with RunLog(tmp_path, 2, steps_per_epoch=2) as log:
        log.note("resume", 2, checkpoint="ckpt_000002")
        for step in (3, 4):
            log.write("step", step, {"train/loss/total": 2.0})
    events = [(row["event"], row["step"]) for row in rows(tmp_path)]
    assert events == [("start", 0), ("step", 1), ("step", 2), ("resume", 2), ("step", 3), ("step", 4)]
    scalars = [(one.step, one.value) for one in board(tmp_path / "tb").Scalars("train/loss/total")]
    assert scalars == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_numbers_are_handed_over_before_a_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, steps_per_epoch=2)
    log.write("step", 1, {"train/loss/total": 1.0})
    log.flush()  # and no end: the process is killed
    assert [one.step for one in board(tmp_path / "tb").Scalars("train/loss/total")] == [1]
    with log:
        pass


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, steps_per_epoch=2, writes=False) as log:
        log.note("start", 0)
        log.write("step", 1, {"train/loss/total": 1.0})
        log.flush()
    assert not list(tmp_path.iterdir())


def test_pace_knows_the_time_of_a_step_with_its_data_and_the_share_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("actloc.training.log.time.monotonic", lambda: now)

    def items() -> "list[int]":
        return [1, 2]

    def slow() -> object:
        nonlocal now
        for item in items():
            now += 1.0  # the data comes after a second
            yield item

    pace, steps_s = Pace(), []
    for _ in pace.over(slow()):  # type: ignore[arg-type]
        now += 3.0
        steps_s.append(pace.step_s)
        now += 4.0  # a validation
    assert steps_s == [4.0, 4.0]
    assert pace.waiting_share == 2 / 16
    assert (pace.waits.count, pace.waits.seconds) == (2, 2.0)
    values = pace.values()
    assert values["speed/steps_per_s"] * values["speed/seconds_per_step"] == pytest.approx(1)
    assert values["time/waiting_for_data"] == 2 / 16


def test_memory_is_that_of_this_process() -> None:
    ((name, gigabytes),) = memory().items()
    assert name in ("memory/resident_gb", "memory/gpu_gb")
    assert 0.01 < gigabytes < 1000


def test_on_a_gpu_memory_is_the_most_that_torch_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 2_500_000_000)
    assert memory() == {"memory/gpu_gb": 2.5}
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 0)  # training runs on the CPU
    assert list(memory()) == ["memory/resident_gb"]
