"""`actloc suggest RUN`: from the unlabelled footage of a run to windows, annotated time and pre-annotations, and on."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.toy import actloc, copy_toy, make_toy, make_video

NEW = {"u0": [("red", 3.0, 5.0), ("blue", 10.0, 12.0)], "u1": [("blue", 2.0, 4.0)]}
COMMON = ("--set", "prediction.threshold=0.02")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on videos of which one is annotated in part, `u0`, and one not at all, `u1`."""
    folder = make_toy(tmp_path_factory.mktemp("suggest") / "toy")
    for name, scene in NEW.items():
        make_video(folder / "videos" / f"{name}.mp4", scene, 14.0)
    settings = (folder / "toy.yaml").read_text()
    settings = settings.replace("labels.csv\n", "labels.csv\n  unannotated: unlabelled\n")
    (folder / "toy.yaml").write_text(settings.replace("epochs: 1\n", "epochs: 5\n", 1))
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    rows = [f"{header},annotated", *(f"{row}," for row in rows), "u0.mp4,3,5,red,train,0-6", "v4.mp4,,,,train,0-4"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for command in ("prepare", "extract-features", "train"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return copy_toy(trained, tmp_path / "toy")


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_from_suggestions_to_the_next_ones(folder: Path) -> None:
    command = ("suggest", "ckpt/toy", "--minutes", "0.2", "--window-s", "4", "--format", "csv,elan,label-studio")
    done = actloc(folder, *command, *COMMON)
    assert done.returncode == 0, done.stderr
    assert "Left out 2 videos, in the subset 'test', which eval scores: v2, v5" in done.stderr
    assert "Left out 4 videos, annotated already: v0, v1, v3, v4" in done.stderr
    assert "3 windows in" in done.stdout
    assert "of 0.4 unlabelled minutes" in done.stdout
    made = folder / "suggestions"
    rows = table(made / "suggested.csv")
    assert sum(float(row["end_s"]) - float(row["start_s"]) for row in rows) <= 12.0
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("value", "coverage", "balance"))
    assert all(row["reason"] and row["reason"] in done.stdout for row in rows)
    for row in rows:
        assert (row["video"] == "u0" and float(row["start_s"]) >= 6) or row["video"] == "u1"
    # what the tools get is inside of the windows, or crosses their borders
    written = table(made / "predictions_csv_table.csv")
    found = [row for row in written if row["label"]]
    assert found
    assert all(any(_is_in(one, row) for row in rows) for one in found)
    for row in rows:
        assert int(row["predictions"]) == sum(_is_in(one, row) for one in found)
    assert {path.stem for path in made.glob("*.eaf")} == {row["video"] for row in rows}
    tasks = json.loads((made / "predictions_label_studio.json").read_text())
    assert {task["data"]["video"] for task in tasks} == {f"{row['video']}.mp4" for row in rows}
    # the user annotates nothing new there, and hands the intervals back
    assert "actloc prepare toy.yaml dataset.annotated=suggestions/annotated.csv" in done.stderr
    again = ("dataset.annotated=suggestions/annotated.csv",)
    done = actloc(folder, "prepare", "toy.yaml", *again)
    assert done.returncode == 0, done.stderr
    prepared = json.loads((folder / "prepared/annotations.json").read_text())["database"]
    for row in rows:
        video = prepared[row["video"]]
        start, end = float(row["start_s"]), float(row["end_s"])
        assert video["subset"] == "train"
        assert any(first <= start and end <= last for first, last in video["annotated"])
    more = actloc(folder, *command, "--output", "more", *COMMON)
    assert more.returncode == 0, more.stderr
    for row in table(folder / "more/suggested.csv"):
        for old in rows:
            assert row["video"] != old["video"] or (
                float(row["start_s"]) >= float(old["end_s"]) or float(row["end_s"]) <= float(old["start_s"])
            )


def _is_in(one: dict[str, str], row: dict[str, str]) -> bool:
    is_there = one["video"] == f"{row['video']}.mp4"
    return is_there and float(one["start"]) < float(row["end_s"]) and float(one["end"]) > float(row["start_s"])


def test_files_are_looked_at_and_those_of_the_test_set_are_not(folder: Path) -> None:
    make_video(folder / "new" / "n0.mp4", [("blue", 1.0, 2.0)], 6.0)
    (folder / "new" / "broken.mp4").write_text("no video")
    command = ("suggest", "ckpt/toy", "new", "videos", "--minutes", "0.1", "--window-s", "2", "--json", *COMMON)
    done = actloc(folder, *command)
    assert done.returncode == 3, done.stderr
    found = events(done.stdout)
    picked = [event for event in found if event["event"] == "suggestion"]
    assert [event["rank"] for event in picked] == [1, 2, 3]
    assert {event["video"] for event in picked} <= {"n0", "u0", "u1"}
    left_out = {event["reason"]: event["videos"] for event in found if event["event"] == "left_out"}
    assert left_out["in the subset 'test', which eval scores"] == ["v2", "v5"]
    assert [event["id"] for event in found if event["event"] == "video_failed"] == ["broken"]
    assert found[-1]["event"] == "done"
    assert found[-1]["unlabelled_s"] == pytest.approx(28.0, abs=0.5)
    assert "broken.mp4" in (folder / "suggestions/failed.jsonl").read_text()
    # by features that are stored, the same footage is seen as the same
    stored = actloc(folder, "suggest", "ckpt/toy", "--minutes", "1", "--window-s", "2", "--json", *COMMON)
    encoded = actloc(folder, *(word for word in command if word != "new"), "--minutes", "1", "--output", "own")
    assert encoded.returncode == 0, encoded.stderr

    def doubts(text: str) -> dict[tuple[str, float], float]:
        listed = [event for event in events(text) if event["event"] == "suggestion"]
        return {(event["video"], round(event["start_s"], 1)): event["uncertainty"] for event in listed}

    assert doubts(stored.stdout) == pytest.approx(doubts(encoded.stdout), abs=1e-3)


def test_a_dry_run_says_what_there_is_and_writes_nothing(folder: Path) -> None:
    done = actloc(folder, "suggest", "ckpt/toy", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Windows have 30 s (--window-s sets another length; the longest training action has 2.0 s)" in done.stdout
    assert "Would choose 0.4 of 0.4 minutes of unlabelled footage in 2 videos" in done.stdout
    assert not (folder / "suggestions").exists()
    (folder / "broken.mp4").write_text("no video")
    assert actloc(folder, "suggest", "ckpt/toy", "broken.mp4", "--dry-run").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "elna"), "--format elna is no form that suggest writes. Did you mean elan?"),
        (("--window-s", "700"), "--window-s 700 is more than --minutes 10, which are 600 s."),
        (("videos/v2.mp4",), "None of the videos that were named can be suggested."),
        (("nosuch.mp4",), "nosuch.mp4 is not a file"),
        (("--minutes", "0"), "Input should be greater than or equal to 0.1"),
        ((), "has no score thresholds: it was not scored."),
    ],
)
def test_mistakes_are_answered(trained: Path, arguments: tuple[str, ...], message: str) -> None:
    done = actloc(trained, "suggest", "ckpt/toy", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_were_changed_are_not_replaced(folder: Path) -> None:
    command = ("suggest", "ckpt/toy", "--minutes", "0.1", "--window-s", "4", "--format", "elan", *COMMON)
    assert actloc(folder, *command).returncode == 0
    name = next((folder / "suggestions").glob("*.eaf"))
    assert actloc(folder, *command).returncode == 0  # its own files
    name.write_text("annotated by hand")
    done = actloc(folder, *command)
    assert done.returncode == 2
    assert name.name in done.stderr
    assert name.read_text() == "annotated by hand"
    assert actloc(folder, *command, "--overwrite").returncode == 0


def test_a_dataset_without_unlabelled_footage_is_refused(folder: Path) -> None:
    settings = (folder / "toy.yaml").read_text().replace("  unannotated: unlabelled\n", "")
    (folder / "toy.yaml").write_text(settings)
    rows = (folder / "labels.csv").read_text().replace(",0-6", ",")
    (folder / "labels.csv").write_text(rows)
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    done = actloc(folder, "suggest", "ckpt/toy", *COMMON)
    assert done.returncode == 2
    assert "has no unlabelled footage that could be suggested." in done.stderr
