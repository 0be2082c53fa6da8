"""A recogniser trained and scored by several gloo processes: the numbers of one."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.test_several_processes import stderr_of_all, together
from tests.end_to_end.test_training_faults import final_state
from tests.toy import actloc, copy_toy, rounding_after, training_rows
from tests.toy_clips import VIDEOMAE

ARGUMENTS = ("toy.yaml", f"clips.encoder={VIDEOMAE}", "schedule.epochs=1")


def logged(folder: Path) -> list[dict[str, object]]:
    return training_rows(folder / "ckpt/toy")


@pytest.fixture(scope="module")
def two(toy_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(toy_clips, tmp_path_factory.mktemp("two") / "toy")
    validated = ("training.validation_subset=test", "training.validate_every_epochs=1")
    done = together(folder, 2, "train", *ARGUMENTS, *validated)
    assert [process.returncode for process in done] == [0, 0], stderr_of_all(done)
    assert sum(process.stdout.count("is trained") for process in done) == 1
    assert "a step differs" not in stderr_of_all(done)  # layer norms know nothing of other clips
    return folder


def test_two_processes_take_the_steps_of_one(toy_clips: Path, two: Path, tmp_path: Path) -> None:
    alone = copy_toy(toy_clips, tmp_path / "toy")
    done = actloc(alone, "train", *ARGUMENTS, "training.validation_subset=test", "training.validate_every_epochs=1")
    assert done.returncode == 0, done.stderr
    mine, theirs = logged(two), logged(alone)
    assert [row["event"] for row in mine] == [row["event"] for row in theirs] == ["step"] * 3 + ["validation"]
    assert mine.pop() == theirs.pop()
    for step, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        assert one.pop("event") == other.pop("event")
        assert one == pytest.approx(other, rel=rounding_after(step))


def test_accuracies_and_scores_are_the_same_for_any_number_of_processes(two: Path, tmp_path: Path) -> None:
    written = []
    for size in (1, 2, 7):  # six clips: the last of seven processes has none
        folder = copy_toy(two, tmp_path / str(size))
        command = ("eval", "ckpt/toy", "--save-scores", "scores.json")
        done = together(folder, size, *command) if size > 1 else [actloc(folder, *command)]
        assert [process.returncode for process in done] == [0] * size, stderr_of_all(done)
        assert stderr_of_all(done).count("Wrote class scores of 6 of 6 videos") == 1
        assert sum(process.stdout.count("Accuracy in percent") for process in done) == 1
        results = folder / "ckpt/toy/eval/test"
        numbers = json.loads((results / "metrics.json").read_text())
        numbers.pop("created")
        written.append((numbers, (results / "clips.csv").read_bytes(), (folder / "scores.json").read_bytes()))
    assert written[0] == written[1] == written[2]


def test_batch_norms_are_warned_of_and_stopped_processes_go_on_to_the_same_bytes(
    toy_clips: Path, tmp_path: Path
) -> None:
    command, ends = ("train", "toy.yaml", "schedule.epochs=1", "training.accumulate=2"), []
    for fault in ({}, {"ACTLOC_FAULT": "step:1:term"}):
        folder = copy_toy(toy_clips, tmp_path / f"toy{len(ends)}")
        done = together(folder, 2, *command, **fault)
        told = " ".join(stderr_of_all(done).split())
        warning = "With training.accumulate=2 and 2 processes a step differs from one pass over all its clips: batch"
        assert told.count(warning) == 1
        if fault:
            assert [process.returncode for process in done] == [143, 143], told
            done = together(folder, 2, *command)
        assert [process.returncode for process in done] == [0, 0], stderr_of_all(done)
        ends.append(final_state(folder))
    assert ends[0] == ends[1]
