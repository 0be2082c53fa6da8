"""A run that is used again is compared with what it was made of: annotations, settings, and how far it came."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actloc import console
from actloc.commands import train
from actloc.experiment import load
from actloc.training.trainer import Trainer
from tests.toy import actloc, copy_toy

Database = dict[str, Any]  # JSON values


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A finished run, to break."""
    return copy_toy(trained, tmp_path / "toy")


def edit(folder: Path, change: Callable[[Database], None]) -> None:
    """Changes the prepared annotations."""
    path = folder / "prepared/annotations.json"
    form = json.loads(path.read_text())
    change(form)
    path.write_text(json.dumps(form))


def rename_red(form: Database) -> None:
    form["classes"] = ["blue", "crimson"]
    for video in form["database"].values():
        for action in video["annotations"]:
            action["label"] = action["label"].replace("red", "crimson")


def swap_subsets(form: Database) -> None:
    form["database"]["v0"]["subset"], form["database"]["v5"]["subset"] = "test", "train"


def metrics_of(folder: Path, name: str = "test") -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / f"ckpt/toy/eval/{name}/metrics.json").read_text())
    return metrics


def test_train_names_what_changed_under_a_finished_run_and_the_commands_for_either_wish(run: Path) -> None:
    edit(run, rename_red)
    extracted = actloc(run, "extract-features", "toy.yaml")
    assert "Next: actloc train toy.yaml run.name=ANOTHER; ckpt/toy was trained on other" in extracted.stderr
    done = actloc(run, "train", "toy.yaml", "run.name=toy")
    assert done.returncode == 2
    for text in (
        "1 class renamed: red -> crimson",
        "actloc train toy.yaml run.name=ANOTHER;",
        "actloc train toy.yaml run.name=toy --overwrite",
        "actloc eval ckpt/toy",
    ):
        assert text in done.stderr, done.stderr
    # each of the commands works
    scored = actloc(run, "eval", "ckpt/toy")
    assert scored.returncode == 0, scored.stderr
    assert "changed since the run was trained: 1 class renamed: red -> crimson" in scored.stderr
    metrics = metrics_of(run)
    assert metrics["classes"] == ["blue", "crimson"]
    assert metrics["counts"]["unknown_labels"] == 0
    assert metrics["annotations_sha256"] != metrics["trained"]["annotations_sha256"]
    assert metrics["trained"]["changes"] == ["1 class renamed: red -> crimson"]
    for more in ("run.name=other", "--overwrite"):
        assert actloc(run, "train", "toy.yaml", more).returncode == 0
    assert actloc(run, "train", "toy.yaml").returncode == 0


def test_a_video_that_moved_to_the_test_set_marks_the_result_and_gives_no_thresholds(run: Path) -> None:
    edit(run, swap_subsets)
    done = actloc(run, "train", "toy.yaml")
    assert done.returncode == 2
    assert "1 video moved from train to test: v0" in done.stderr
    assert "1 video moved from test to train: v5" in done.stderr
    scored = actloc(run, "eval", "ckpt/toy")
    assert scored.returncode == 0, scored.stderr
    assert "trained on 1 of the videos scored (v0), so the results are too good" in scored.stderr
    assert metrics_of(run)["trained"]["trained_videos"] == ["v0"]
    assert actloc(run, "report", "ckpt/toy").returncode == 0
    assert "too good" in (run / "ckpt/toy/report.html").read_text()
    assert "trained on 1 video of these" in (run / "ckpt/toy/tables.md").read_text()
    assert "trained on 1 video of these" in actloc(run, "ls", "runs").stdout
    predicted = actloc(run, "predict", "ckpt/toy", "videos/v2.mp4")
    assert predicted.returncode == 2
    assert "measured on videos that the run was trained on: v0" in predicted.stderr
    assert actloc(run, "predict", "ckpt/toy", "videos/v2.mp4", "prediction.threshold=0.1").returncode == 0


def test_what_changed_under_a_run_without_a_copy_is_unknown(run: Path) -> None:
    (run / "ckpt/toy/annotations.json").unlink()
    edit(run, swap_subsets)
    done = actloc(run, "train", "toy.yaml")
    assert done.returncode == 2
    assert "what changed is unknown: the run kept no copy" in done.stderr
    scored = actloc(run, "eval", "ckpt/toy")
    assert scored.returncode == 0
    assert "is unknown" in scored.stderr
    assert metrics_of(run)["trained"]["trained_videos"] is None


def test_the_same_annotations_in_another_place_are_no_change(run: Path) -> None:
    edit(run, lambda form: form["database"]["v0"].update(file="elsewhere/v0.mp4"))
    done = actloc(run, "train", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "is trained" in done.stdout


def test_labels_changed_after_prepare_are_noticed(encoded: Path, trained: Path, tmp_path: Path) -> None:
    record = json.dumps(
        {"annotations_sha256": "", "sources": {"labels.csv": hashlib.sha256(b"as they were").hexdigest(), "gone": "0"}}
    )
    new, old = copy_toy(encoded, tmp_path / "new"), copy_toy(trained, tmp_path / "old")
    for folder in (new, old):
        (folder / "prepared/prepared.json").write_text(record)
    done = actloc(new, "train", "toy.yaml", "run.name=fresh")  # others may have trained in the folder it is a copy of
    assert done.returncode == 2
    assert "labels.csv has changed since `actloc prepare` read it" in done.stderr
    assert "Run: actloc prepare toy.yaml" in done.stderr
    assert not (new / "ckpt/fresh").exists()
    done = actloc(old, "train", "toy.yaml")  # finished: only told
    assert done.returncode == 0
    assert "labels.csv has changed since `actloc prepare` read it" in done.stderr
    (new / "prepared/prepared.json").unlink()
    assert actloc(new, "train", "toy.yaml", "run.name=fresh").returncode == 0


def test_annotations_edited_during_training_do_not_reach_the_run(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    monkeypatch.chdir(folder)
    before = (folder / "prepared/annotations.json").read_bytes()
    step = Trainer.train_step

    def and_edit(trainer: Trainer, batches: Any) -> dict[str, float]:
        edit(folder, swap_subsets)
        return step(trainer, batches)

    monkeypatch.setattr(Trainer, "train_step", and_edit)
    console.set_verbosity("usual")
    assert train.run(load("toy.yaml")) == 0
    said = capsys.readouterr().err
    assert "were changed during training. The run was trained on those that it read" in said.replace("\n", " ")
    assert (folder / "ckpt/toy/annotations.json").read_bytes() == before
    assert "1 video moved from train to test: v0" in actloc(folder, "train", "toy.yaml").stderr


def test_an_unfinished_run_goes_on_from_the_copy_of_its_annotations(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:5:term").returncode == 143
    edit(folder, swap_subsets)
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 2
    assert "cp ckpt/toy/annotations.json prepared/annotations.json" in done.stderr
    shutil.copy(folder / "ckpt/toy/annotations.json", folder / "prepared/annotations.json")
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0
    assert "Resuming after step 5" in done.stderr


def test_an_unfinished_run_is_scored_as_unfinished(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:5:term").returncode == 143
    assert "stopped at 5 of 8, epoch 1 of 2  not scored yet" in actloc(folder, "ls", "runs").stdout
    scored = actloc(folder, "eval", "ckpt/toy")
    assert scored.returncode == 0, scored.stderr
    assert "The run is not finished: stopped at 5 of 8" in scored.stderr
    assert actloc(folder, "report", "ckpt/toy").returncode == 0
    assert "| toy, stopped at 5 of 8 |" in (folder / "ckpt/toy/tables.md").read_text()
    assert "stopped at 5 of 8" in (folder / "ckpt/toy/report.html").read_text()
    assert "stopped at 5 of 8" in actloc(folder, "ls", "runs").stdout


def test_averages_that_are_mostly_initial_weights_are_told_and_the_last_weights_scored_too(
    encoded: Path, tmp_path: Path
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    done = actloc(folder, "train", "toy.yaml", "average.warm_up=false")
    assert done.returncode == 0, done.stderr
    caution = "averaged weights still hold 99% of the initial ones after 8 steps"
    assert done.stderr.count(caution) == 2  # at the start and at the end
    scored = actloc(folder, "eval", "ckpt/toy", "--json")
    assert scored.returncode == 0, scored.stderr
    assert scored.stderr.count(caution) == 1
    assert json.loads(scored.stdout.splitlines()[-1])["path"].endswith("eval/test/metrics.json")
    averaged, raw = metrics_of(folder), metrics_of(folder, "test-raw")
    assert (averaged["weights"], raw["weights"], raw["changed"]) == ("averaged", "raw", {"evaluation.weights": "raw"})
    assert averaged["class_ap"] != raw["class_ap"]
    predicted = actloc(folder, "predict", "ckpt/toy", "videos/v2.mp4", "prediction.threshold=0.1")
    assert predicted.returncode == 0, predicted.stderr
    assert caution in predicted.stderr


def test_with_warm_up_nothing_is_said_of_averages(run: Path) -> None:
    assert "averaged weights" not in actloc(run, "train", "toy.yaml").stderr
    assert "averaged weights" not in actloc(run, "eval", "ckpt/toy").stderr
    assert not (run / "ckpt/toy/eval/test-raw").exists()


def test_results_of_other_settings_leave_the_runs_own_and_its_thresholds_alone(run: Path) -> None:
    assert actloc(run, "eval", "ckpt/toy").returncode == 0
    own = (run / "ckpt/toy/eval/test/metrics.json").read_bytes()
    for settings in (["evaluation.tious=[0.5]"], ["suppression.method=hard"], ["evaluation.protocol=thumos"]):
        done = actloc(run, "eval", "ckpt/toy", *settings)
        assert done.returncode == 0, done.stderr
    assert (run / "ckpt/toy/eval/test/metrics.json").read_bytes() == own
    hard = metrics_of(run, "test-suppression.method=hard")
    assert hard["settings"]["suppression.method"] == "hard"
    assert hard["changed"] == {"suppression.method": "hard"}
    assert actloc(run, "report", "ckpt/toy").returncode == 0
    rows = (run / "ckpt/toy/tables.md").read_text().splitlines()[4:12]
    names = [line.split("|")[1].strip() for line in rows]
    assert names[1::2] == ["95 % interval"] * 4
    assert sorted(names[::2]) == [
        "toy",
        "toy, evaluation.protocol=thumos",
        r"toy, evaluation.tious=\[0.5\]",
        "toy, suppression.method=hard",
    ]


def test_a_test_subset_without_annotations_is_predicted(run: Path) -> None:
    edit(run, lambda form: [form["database"][name].update(annotations=[]) for name in ("v2", "v5")])
    done = actloc(run, "eval", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    assert "There is nothing to score" in done.stderr
    written = json.loads((run / "ckpt/toy/eval/test/predictions.json").read_text())
    assert set(written["results"]) == {"v2", "v5"}
    assert not (run / "ckpt/toy/eval/test/metrics.json").exists()


def test_a_training_subset_without_actions_is_an_error(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    edit(folder, lambda form: [form["database"][name].update(annotations=[]) for name in ("v0", "v1", "v3", "v4")])
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 2
    assert "has 4 videos in 'train', and no action in them" in done.stderr
    assert not (folder / "ckpt/toy/config.yaml").exists()
