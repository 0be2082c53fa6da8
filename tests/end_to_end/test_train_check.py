"""`train --check`: what a run will take, measured in a folder that does not stay."""

import json
from pathlib import Path

import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import train_check
from tests.toy import actloc, copy_toy


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return copy_toy(trained, tmp_path / "toy")


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_it_measures_steps_validation_and_checkpoint_and_keeps_nothing(folder: Path, tmp_path: Path) -> None:
    places = tmp_path / "temporary"
    places.mkdir()
    before = everything(folder)
    done = actloc(folder, "train", "toy.yaml", "--check", "--json", TMPDIR=str(places))
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "check"
    run = folder / "ckpt/toy"
    (kept,) = {len((one / "weights.safetensors").read_bytes()) for one in run.glob("ckpt_0*")}
    assert event["checkpoint_bytes"] > 2 * kept  # with averages and the optimizer's state
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert event["steps"] == len([row for row in rows if row["event"] == "step"])
    assert 0 < event["seconds_per_step"] < event["training_s"]
    assert event["validation_s"] > 0
    assert event["memory_bytes"] > 50e6
    assert everything(folder) == before
    assert not list(places.iterdir())


def test_what_is_missing_is_reported_as_training_does_and_the_folder_goes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    where = {"TMPDIR": str(tmp_path / "temporary")}
    for words, said in (
        (["features.path=absent"], "absent"),
        (["dataset.folder=absent"], "Run: actloc prepare toy.yaml dataset.folder=absent"),
        (["--dry-run"], "--dry-run and --check were both given."),
        (["optimizer.learning_rate=1e30", "optimizer.clip_norm=1e30", "schedule.warmup_epochs=0"], "not finite"),
    ):
        done = actloc(folder, "train", "toy.yaml", "--check", *words, **where)
        assert done.returncode in (2, 5), done.stderr
        assert said in done.stderr
    assert not list((tmp_path / "temporary").iterdir())


def video(name: str, subset: str, duration_s: float | None, *labels: str) -> AnnotatedVideo:
    return AnnotatedVideo(name, subset, tuple(Action(0, 1, label) for label in labels), duration_s)


def test_few_videos_are_of_all_lengths_and_of_classes_that_are_learned() -> None:
    listed = [video("learn", "train", 9.0, "run")]
    listed += [video(f"v{number}", "test", float(number), "run") for number in range(1, 12)]
    listed += [video("other", "test", 99.0, "unknown"), video("empty", "test", 98.0)]
    annotations = Annotations(("run",), {one.id: one for one in listed})
    few = train_check._few(annotations, "train", "test")
    assert [one.id for one in few] == ["v1", "v4", "v8", "v11"]
    assert train_check._length(few) == 24
    assert [one.id for one in train_check._few(annotations, "train", "train")] == ["learn"]
    assert train_check._few(annotations, "train", "val") == []
    assert train_check._length([*few, video("unknown", "test", None)]) == 5


def test_a_recogniser_is_checked_as_well(recognizing: Path, tmp_path: Path) -> None:
    folder = copy_toy(recognizing, tmp_path / "toy")
    before = everything(folder)
    done = actloc(folder, "train", "toy.yaml", "--check", "--json")
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["steps"]) == ("check", 9)
    assert event["validation_s"] > 0
    assert everything(folder) == before
