"""`actloc doctor` names each fault first that is put into made-up data, and changes nothing."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import planted
from tests.toy import ROOT, actloc, make_video
from tests.videos import Clips


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("doctor") / "made"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        planted.make(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def made(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break, which is the working folder."""
    shutil.copytree(sound, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    return tmp_path / "made"


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def doctor(folder: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    before = contents(folder)
    done = actloc(folder, "doctor", *arguments, "--json")
    assert contents(folder) == before, "it changes nothing"
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events, done.stderr
    assert events[-1]["event"] == "done", done.stderr
    found = [event for event in events if event["event"] == "finding"]
    severities = [("error", "warning", "note").index(event["severity"]) for event in found]
    assert severities == sorted(severities)
    assert done.returncode == (2 if 0 in severities else 0)
    return done.returncode, found


def test_nothing_is_wrong_where_nothing_is(made: Path) -> None:
    status, found = doctor(made, "ckpt/made")
    assert status == 0
    assert [event for event in found if event["severity"] != "note"] == []


@pytest.mark.parametrize("fault", planted.FAULTS)
def test_a_planted_fault_is_the_first_finding(fault: str, made: Path, clips: Clips) -> None:
    kind, plant = planted.FAULTS[fault]
    planted.with_clip(made, clips)
    plant(made)
    _, found = doctor(made, "ckpt/made")
    assert found[0]["kind"] == kind, found[0]["what"]
    assert found[0]["fix"]


def test_subsets_to_take_instead_have_actions(made: Path) -> None:
    path = made / "prepared/annotations.json"
    content = json.loads(path.read_text())
    for video in content["database"].values():
        if video["subset"] == "test":
            video["annotations"] = []
    path.write_text(json.dumps(content))
    found = doctor(made, "prepared")[1]
    (empty,) = [event for event in found if event["kind"] == "empty_subset"]
    assert empty["fix"] == "Set dataset.evaluation_subset to one of: train; or annotate videos of it"


@pytest.mark.parametrize("name", planted.FILES)
def test_a_faulty_video_is_named_in_a_folder(name: str, tmp_path: Path, clips: Clips) -> None:
    kind, severity = planted.FILES[name]
    shutil.copy(clips["plain.mp4"], tmp_path / "sound.mp4")
    shutil.copy(clips[name], tmp_path / name)
    _, found = doctor(tmp_path, ".")
    assert (found[0]["kind"], found[0]["severity"]) == (kind, severity)
    assert Path(found[0]["where"]).name == name
    assert [event["kind"] for event in found[1:]] == ["videos"]


def test_only_decoding_finds_damaged_pictures(tmp_path: Path, clips: Clips) -> None:
    shutil.copy(clips["hole.mp4"], tmp_path / "hole.mp4")
    assert doctor(tmp_path, ".")[0] == 0
    status, found = doctor(tmp_path, ".", "--full")
    assert status == 2
    assert found[0]["kind"] in ("damaged", "unreadable")


def test_the_same_scene_encoded_twice_is_found_by_decoding(tmp_path: Path) -> None:
    scene = [("red", 1.0, 2.0)]
    make_video(tmp_path / "videos/one.mp4", scene)
    make_video(tmp_path / "videos/two.mp4", [*scene, ("blue@0.02", 3.0, 3.2)])
    make_video(tmp_path / "videos/three.mp4", [("blue", 2.0, 3.0)])
    rows = [("one", "train"), ("two", "test"), ("three", "test")]
    lines = [f"{name}.mp4,1,2,red,{subset}" for name, subset in rows]
    (tmp_path / "labels.csv").write_text("\n".join(["video,start,end,label,subset", *lines]) + "\n")
    config = (ROOT / "configs/own_videos.yaml").read_text()
    (tmp_path / "own.yaml").write_text(config)
    settings = ("dataset.videos=videos", "dataset.annotations=labels.csv")
    assert not {"near_duplicate"} & {event["kind"] for event in doctor(tmp_path, "own.yaml", *settings)[1]}
    _, found = doctor(tmp_path, "own.yaml", *settings, "--full")
    (pair,) = [event for event in found if event["kind"] == "near_duplicate"]
    assert pair["value"] == [["one", "two"]]


def test_the_change_that_is_named_says_how_far_and_what_the_map_becomes(made: Path) -> None:
    planted.FAULTS["predictions 1.5 s late"][1](made)
    first = doctor(made, "ckpt/made")[1][0]
    shift = re.search(r"if the predictions are ([\d.]+) s earlier", first["what"])
    assert shift
    assert float(shift[1]) == pytest.approx(1.5, abs=0.1)
    assert max(first["value"]["mAP"]) < 0.3
    assert min(first["value"]["mAP_after"]) > 0.8


def test_low_results_by_chance_are_blamed_on_no_change(made: Path) -> None:
    annotations = planted.form.read(made / "prepared/annotations.json")
    chance = planted.random.Random(7)
    names = [video.id for video in annotations.of_subset("test")]
    found = {
        name: [
            planted.Prediction(chance.choice(planted.CLASSES), chance.random(), start, start + chance.uniform(0.2, 9))
            for start in (chance.uniform(0, 35) for _ in range(6))
        ]
        for name in names
    }
    planted.write_run(made, found)
    status, listed = doctor(made, "ckpt/made")
    assert status == 0
    assert listed[0]["kind"] == "low_map"
    assert listed[0]["what"].startswith("None of ")


def test_actions_that_no_level_reaches_are_counted_by_the_rule_of_training(made: Path) -> None:
    gap = "detector.regression_ranges=[[0,1],[1,2],[2,3],[3,4],[4,5],[200,10000]]"
    _, found = doctor(made, "made.yaml", gap)
    (unreached,) = [event for event in found if event["kind"] == "unreached_actions"]
    assert 0 < unreached["value"] <= 1
    assert "detector.regression_ranges=[[0,4],[4,8],[8,16],[16,32],[32,64],[64,10000]]" in unreached["fix"]
    assert "unreached_actions" not in {event["kind"] for event in doctor(made, "made.yaml")[1]}


def test_windows_that_are_shorter_than_actions_are_named(made: Path) -> None:
    _, found = doctor(made, "made.yaml", "features.max_steps=8")
    assert found[0]["kind"] == "too_long_actions"
    assert found[0]["fix"] == "Set features.max_steps=32"


def test_wrong_rows_are_found_before_anything_is_prepared(made: Path) -> None:
    shutil.rmtree(made / "prepared")
    (made / "labels.csv").write_text("video,start,end,label\nv01,5,4,run\n")
    status, found = doctor(made, "made.yaml")
    assert status == 2
    assert found[0]["kind"] == "annotations"
    assert "1 of 1 row cannot be used" in found[0]["what"]
    assert "ends before it starts" in found[0]["what"]


def test_rows_that_are_left_out_are_named_before_and_after_prepare(made: Path) -> None:
    rows = "v00,1,2,run,train\nv01,1,2,run,test\nv01,5,4,run,\n"
    (made / "labels.csv").write_text(f"video,start,end,label,subset\n{rows}")
    shutil.rmtree(made / "prepared")
    assert actloc(made, "prepare", "made.yaml").returncode == 0
    _, after = doctor(made, "made.yaml")
    shutil.rmtree(made / "prepared")
    _, before = doctor(made, "made.yaml")
    for found in (before, after):
        (one,) = (event for event in found if event["kind"] == "left_out")
        assert one["severity"] == "warning"
        assert "1 row of the annotations cannot be used: labels.csv:" in one["what"]
        assert one["fix"] == "Correct them, then run: actloc prepare made.yaml"


def test_a_file_that_is_gone_and_named_by_two_videos_is_named(made: Path) -> None:
    file = made / "prepared/annotations.json"
    form = json.loads(file.read_text())
    for name in ("v00", "v01"):
        form["database"][name]["file"] = "videos/gone.mp4"
    file.write_text(json.dumps(form))
    _, found = doctor(made, "made.yaml")
    (one,) = (event for event in found if event["kind"] == "same_file")
    assert one["what"] == "Several videos name the same file, which is gone: videos/gone.mp4"


def test_the_environment_has_no_personal_paths_and_starts_without_torch(tmp_path: Path) -> None:
    status, found = doctor(tmp_path)
    assert status == 0
    kinds = {event["kind"] for event in found}
    assert {"python", "torch", "devices", "processor", "ffmpeg", "decoders", "disk", "memory", "extras"} <= kinds
    text = json.dumps(found)
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(tmp_path) not in text
    assert str(ROOT) not in text
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    command = [sys.executable, "-m", "actloc", "doctor"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith("Error: torch cannot be imported")


def test_a_folder_of_nothing_known_is_an_error(tmp_path: Path) -> None:
    done = actloc(tmp_path, "doctor", ".")
    assert done.returncode == 2
    assert "has no videos, no annotations.json and no store.json" in done.stderr
