"""`actloc doctor RUN --labels` writes its table, and with --folds trains runs that do not see what they judge."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.toy import actloc, copy_toy, make_toy


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_toy(tmp_path_factory.mktemp("labels") / "toy")
    for command in ("prepare", "extract-features", "train"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    return folder


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_run_itself_judges(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    done = actloc(folder, "doctor", "ckpt/toy", "--labels", "--json")
    assert done.returncode == 0, done.stderr
    assert "memorised" in done.stderr
    found = [event for event in events(done.stdout) if event["event"] == "finding"]
    with (folder / "ckpt/toy/label_audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found) > 0
    suspicions = [float(row["suspicion"]) for row in rows]
    assert suspicions == sorted(suspicions, reverse=True)
    assert all(0 < one <= 1 for one in suspicions)


def test_runs_judge_only_what_they_did_not_see_and_are_not_trained_twice(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    command = ("doctor", "ckpt/toy", "--labels", "--folds", "2")
    done = actloc(folder, *command)
    assert done.returncode == 0, done.stderr
    assert "memorised" not in done.stderr
    own = []
    everything = json.loads((folder / "prepared/annotations.json").read_text())["database"]
    for number in (1, 2):
        run = folder / f"ckpt/toy/label_audit/fold_{number}_of_2"
        database = json.loads((run / "annotations.json").read_text())["database"]
        own.append({name for name, video in database.items() if video["subset"] == "held_out"})
    assert own[0] | own[1] == set(everything)
    assert not own[0] & own[1]
    table = (folder / "ckpt/toy/label_audit.csv").read_bytes()
    logs = {path: path.read_bytes() for path in folder.glob("ckpt/toy/label_audit/*/log.jsonl")}
    assert len(logs) == 2
    assert actloc(folder, *command).returncode == 0
    assert {path: path.read_bytes() for path in logs} == logs
    assert (folder / "ckpt/toy/label_audit.csv").read_bytes() == table
    again = actloc(folder, "train", "toy.yaml", "--overwrite")
    assert again.returncode == 0, again.stderr
    assert not (folder / "ckpt/toy/label_audit").exists(), "they judge labels with the settings of the run that is gone"


def test_stopped_and_killed_in_the_middle_of_a_fold_it_goes_on_there(trained: Path, tmp_path: Path) -> None:
    folder, whole = (copy_toy(trained, tmp_path / name) for name in ("toy", "whole"))
    command = ("doctor", "ckpt/toy", "--labels", "--folds", "2", "--json")
    expected = actloc(whole, *command)
    assert expected.returncode == 0, expected.stderr
    assert "actloc eval" not in expected.stderr, "nobody scores the run of a fold"
    assert [event["event"] for event in events(expected.stdout)].count("done") == 1
    stopped = actloc(folder, *command, ACTLOC_FAULT="step:2:term")
    assert stopped.returncode == 143
    assert stopped.stderr.splitlines()[-1] == "Stopped by SIGTERM. Run the same command again to continue."
    num_steps = [len(path.read_text().splitlines()) for path in whole.glob("ckpt/toy/label_audit/fold_1*/log.jsonl")]
    killed = actloc(folder, *command, ACTLOC_FAULT=f"step:{num_steps[0]}:kill")  # one was taken before
    assert killed.returncode == -9
    assert (folder / "ckpt/toy/label_audit/fold_1_of_2/finished.json").is_file()
    assert not (folder / "ckpt/toy/label_audit/fold_2_of_2/finished.json").is_file()
    done = actloc(folder, *command)
    assert done.returncode == 0, done.stderr
    assert (folder / "ckpt/toy/label_audit.csv").read_bytes() == (whole / "ckpt/toy/label_audit.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels"], "without a run"),
        (["ckpt/toy", "--folds", "3"], "--folds was given without --labels"),
        (["ckpt/toy", "--labels", "--full"], "--labels and --full were both given"),
        (["ckpt/toy", "--labels", "--folds", "99"], "--folds 99 is more than"),
    ],
)
def test_what_cannot_be_audited_is_refused(trained: Path, arguments: list[str], message: str) -> None:
    done = actloc(trained, "doctor", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_suggestions_are_written_for_annotation_tools(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    command = ("doctor", "ckpt/toy", "--labels", "--format", "csv,elan", "--output", "corrected")
    done = actloc(folder, *command)
    assert done.returncode == 0, done.stderr
    with (folder / "ckpt/toy/label_audit.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["suggested label"]]
    assert rows
    with (folder / "corrected/predictions_csv_table.csv").open() as file:
        written = list(csv.DictReader(file))
    of_audit = {(row["video"], row["suggested start"], row["suggested label"], row["suspicion"]) for row in rows}
    assert {
        (row["video"].removesuffix(".mp4"), f"{float(row['start']):.3f}", row["label"], f"{float(row['score']):.4f}")
        for row in written
    } == of_audit
    assert {path.stem for path in (folder / "corrected").glob("*.eaf")} == {row["video"] for row in rows}
    (folder / "corrected" / f"{rows[0]['video']}.eaf").write_text("corrected by hand")
    assert actloc(folder, *command).returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "elan"), "--format was given without --labels."),
        (("--output", "x"), "--output was given without --labels."),
        (("--labels", "--output", "x"), "--output x was given without --format."),
        (("--labels", "--format", "elna"), "--format elna is no form that doctor --labels writes. Did you mean elan?"),
    ],
)
def test_mistaken_forms_are_answered(trained: Path, options: tuple[str, ...], message: str) -> None:
    done = actloc(trained, "doctor", "ckpt/toy", *options)
    assert done.returncode == 2
    assert message in done.stderr
