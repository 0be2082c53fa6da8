"""The commands on a folder of own videos that grows and changes: no number is of something else than it says."""

import csv
import hashlib
import json
import re
import shlex
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.toy import CONFIG, actloc, copy_toy, make_video

FIRST, LATER = 12, 3
Action = tuple[str, str, str]
"""Start, end and label of a row."""


def scene(number: int) -> list[tuple[str, float, float]]:
    """Each video has both classes, so that a side of any of them can be scored."""
    start = 0.25 * (number % 3)
    return [("red", start, start + 1.0), ("blue", start + 1.5, start + 2.75)]


def rows_of(number: int) -> list[Action]:
    return [(f"{start}", f"{end}", colour) for colour, start, end in scene(number)]


def write_labels(folder: Path, labels: dict[str, list[Action]], subset_of: dict[str, str] | None = None) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "start", "end", "label", *(["subset"] if subset_of else [])])
        for name, actions in labels.items():
            for action in actions:
                table.writerow([f"{name}.mp4", *action, *([subset_of.get(name, "")] if subset_of else [])])


def labels_of(names: range) -> dict[str, list[Action]]:
    return {f"day {number}": rows_of(number) for number in names}


def ran(folder: Path, *arguments: str, status: int = 0) -> str:
    """What a command printed on both streams, in one line."""
    done: CompletedProcess[str] = actloc(folder, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def follow(folder: Path, told: str) -> str:
    """Runs the command that `Next:` names."""
    (command,) = re.findall(r"Next: actloc (.*)", told)
    return ran(folder, *shlex.split(command))


def sides(folder: Path) -> dict[str, str]:
    """The subset of each video by its id, as the prepared annotations state it."""
    database = json.loads((folder / "prepared/annotations.json").read_text())["database"]
    return {name: entry["subset"] for name, entry in database.items()}


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())  # type: ignore[no-any-return]


def of_test(folder: Path, labels: dict[str, list[Action]]) -> dict[str, int]:
    """How many videos and actions must have been scored."""
    names = [name for name, side in sides(folder).items() if side == "test"]
    return {"videos": len(names), "truths": sum(len(labels.get(name, ())) for name in names)}


def assert_scored(folder: Path, labels: dict[str, list[Action]]) -> dict[str, Any]:
    found = metrics(folder)
    assert {key: found["counts"][key] for key in ("videos", "truths")} == of_test(folder, labels)
    assert found["counts"]["videos_without_features"] == []
    return found


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 videos, by the five commands, each as the one before it says; the 3 later ones are beside them."""
    folder = tmp_path_factory.mktemp("growing") / "toy"
    for number in range(FIRST + LATER):
        place = "videos" if number < FIRST else "later"
        make_video(folder / place / f"day {number}.mp4", scene(number), 3.5)
    (folder / "toy.yaml").write_text(CONFIG)
    write_labels(folder, labels_of(range(FIRST)))
    told = ran(folder, "prepare", "toy.yaml")
    for _ in range(4):
        told = follow(folder, told)
    assert (folder / "ckpt/toy/report.html").is_file()
    assert set(sides(folder).values()) == {"train", "test"}
    assert_scored(folder, labels_of(range(FIRST)))
    return folder


@pytest.fixture
def folder(scored: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return copy_toy(scored, tmp_path / "toy")


def grow(folder: Path) -> dict[str, list[Action]]:
    for path in (folder / "later").iterdir():
        path.rename(folder / "videos" / path.name)
    labels = labels_of(range(FIRST + LATER))
    write_labels(folder, labels)
    return labels


def test_more_videos_change_no_side_and_lead_to_results_of_all_of_them(folder: Path) -> None:
    before, first = sides(folder), metrics(folder)
    labels = grow(folder)
    # until the labels are read again, what is scored is what was read
    told = ran(folder, "eval", "toy.yaml")
    assert "labels.csv has changed since `actloc prepare` read it. The results are of what it read then." in told
    assert metrics(folder)["mean_ap"] == first["mean_ap"]
    assert "labels.csv has changed since" in ran(folder, "train", "toy.yaml")
    told = ran(folder, "train", "toy.yaml", "run.name=other", status=2)
    ran(folder, *shlex.split(re.findall(r"Run: actloc (prepare [^;]+);", told)[0]))

    new = sides(folder)
    assert before.items() <= new.items()
    for name in new.keys() - before.keys():
        by_hash = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0
        assert new[name] == ("test" if by_hash else "train")
    told = ran(folder, "prepare", "toy.yaml")
    assert "is already complete" in told
    refused = ran(folder, "train", "toy.yaml", status=2)
    assert "3 videos added" in refused
    assert "features of 15 videos, 3 of them new" in follow(folder, told)
    told = ran(folder, "eval", "toy.yaml")
    assert "The annotations have changed since the run was trained: 3 videos added" in told
    assert_scored(folder, labels)
    assert metrics(folder)["trained"]["trained_videos"] == []

    # each of the commands that the refusal names works, and there is no way back to it
    for command in re.findall(r"(?:run on these|this one|as it is): actloc (.*?)(?:;|$)", refused):
        ran(folder, *shlex.split(command))
    told = ran(folder, "train", "toy.yaml")
    assert "is trained" in told
    told = follow(folder, told)
    assert "have changed" not in told
    assert "have changed" not in ran(folder, "eval", "ckpt/ANOTHER")
    found = assert_scored(folder, labels)
    assert found["trained"]["changes"] == []
    assert found["annotations_sha256"] == found["trained"]["annotations_sha256"]
    (compare,) = re.findall(r"to compare both: actloc eval each, then actloc (.*)", refused)
    assert "mAP in percent: ANOTHER against toy" in ran(folder, *shlex.split(compare))


def test_a_renamed_class_has_its_new_name_and_its_threshold(folder: Path) -> None:
    old = metrics(folder)
    labels = {
        name: [(start, end, {"red": "crimson"}.get(label, label)) for start, end, label in actions]
        for name, actions in labels_of(range(FIRST)).items()
    }
    write_labels(folder, labels)
    ran(folder, "prepare", "toy.yaml")
    assert "1 class renamed: red -> crimson" in ran(folder, "train", "toy.yaml", status=2)
    assert "1 class renamed: red -> crimson" in ran(folder, "eval", "toy.yaml")
    found = assert_scored(folder, labels)
    assert found["classes"] == ["blue", "crimson"]
    assert (found["class_ap"], found["thresholds"]) == (old["class_ap"], old["thresholds"])
    assert found["trained"]["renamed"] == {"red": "crimson"}
    told = ran(folder, "predict", "ckpt/toy", "later/day 12.mp4")
    unmeasured = [one for one in found["thresholds"] if one["score"] is None]
    assert ("No score threshold" in told) == bool(unmeasured)


def test_a_video_that_is_removed_moved_or_comes_back_keeps_its_side(folder: Path) -> None:
    before, labels = sides(folder), labels_of(range(FIRST))
    gone = next(name for name in before if before[name] == "train")
    (folder / f"videos/{gone}.mp4").rename(folder / "gone.mp4")
    told = ran(folder, "prepare", "toy.yaml", status=2)
    assert f"videos has no video {gone}.mp4" in told
    assert (folder / "prepared/annotation_problems.txt").is_file()
    write_labels(folder, {name: rows for name, rows in labels.items() if name != gone})
    ran(folder, "prepare", "toy.yaml")
    assert not (folder / "prepared/annotation_problems.txt").exists()
    assert sides(folder) == {name: side for name, side in before.items() if name != gone}
    assert f"1 video removed (1 train): {gone}" in ran(folder, "train", "toy.yaml", status=2)
    (folder / "gone.mp4").rename(folder / f"videos/{gone}.mp4")
    write_labels(folder, labels)
    told = ran(folder, "prepare", "toy.yaml")
    assert sides(folder) == before
    assert "is trained" in ran(folder, "train", "toy.yaml")

    # two videos move into folders, twice; a line for each place would in the end say two sides
    for place in ("P01", "P02/a"):
        for name in list(before)[:2]:
            (path,) = (folder / "videos").rglob(f"{name}.mp4")
            (folder / "videos" / place).mkdir(parents=True, exist_ok=True)
            path.rename(folder / "videos" / place / path.name)
        told = ran(folder, "prepare", "toy.yaml")
        assert "New:" not in told
        assert sides(folder) == before
    kept = (folder / "prepared/subsets.csv").read_text().splitlines()
    assert len(kept) == 1 + FIRST
    assert "is trained" in ran(folder, "train", "toy.yaml")
    assert "already complete" in ran(folder, "extract-features", "toy.yaml")
    assert_scored(folder, labels)


def test_a_subset_column_that_comes_later_wins_and_marks_what_was_learned(folder: Path) -> None:
    before, labels = sides(folder), labels_of(range(FIRST))
    to_test = next(name for name in before if before[name] == "train")
    to_train = next(name for name in before if before[name] == "test")
    write_labels(folder, labels, {to_test: "Testing", to_train: "TRAIN"})
    told = ran(folder, "prepare", "toy.yaml")
    moves = {to_test: "train to test", to_train: "test to train"}
    for name, way in moves.items():
        assert f"{name}.mp4 from {way}" in told
    assert sides(folder) == {**before, to_test: "test", to_train: "train"}
    ran(folder, "train", "toy.yaml", status=2)
    assert f"trained on 1 of the videos scored ({to_test}), so the results are too good" in ran(
        folder, "eval", "toy.yaml"
    )
    assert_scored(folder, labels)
    told = ran(folder, "predict", "ckpt/toy", "later/day 12.mp4", status=2)
    assert f"measured on videos that the run was trained on: {to_test}" in told
    ran(folder, "train", "toy.yaml", "--overwrite")
    ran(folder, "eval", "toy.yaml")
    assert metrics(folder)["trained"]["trained_videos"] == []
    ran(folder, "predict", "ckpt/toy", "later/day 12.mp4")


def test_an_edited_action_and_another_form_of_the_table(folder: Path) -> None:
    before, labels = sides(folder), labels_of(range(FIRST))
    name = next(name for name in before if before[name] == "test")
    labels[name][0] = ("0.5", "1.5", "blue")
    rows = [f"C:\\videos\\{video}.MP4\t{s}\t{e}\t{label}" for video, listed in labels.items() for s, e, label in listed]
    text = "\r\n".join(["File\tStart Time\tEnd Time\tLabel", *rows])
    (folder / "labels.csv").write_bytes(text.encode("utf-16"))  # a spreadsheet's Unicode text
    ran(folder, "prepare", "toy.yaml")
    assert sides(folder) == before
    assert f"1 action changed in 1 video: {name}" in ran(folder, "train", "toy.yaml", status=2)
    assert f"1 action changed in 1 video: {name}" in ran(folder, "eval", "toy.yaml")
    found = assert_scored(folder, labels)
    (video,) = (one for one in found["videos"] if one["id"] == name)
    assert {"label": "blue", "start_s": 0.5, "end_s": 1.5} in video["truth"]
