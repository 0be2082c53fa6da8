import json
import os
import random
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc import experiment as experiments
from actloc.annotations import form as annotation_form
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.commands import extract_features
from actloc.encoders.color.network import Color
from actloc.errors import EnvironmentProblem, UserError
from actloc.experiment import Experiment
from actloc.store import filling
from actloc.store.store import FeatureStore
from tests.toy import CONFIG, ROOT, SCENES, actloc, copy_toy, digests, leftovers, run_afresh, start
from tests.videos import Clips


def experiment(*overrides: str) -> Experiment:
    return experiments.load("toy.yaml", list(overrides))


def test_features_are_written_and_the_next_command_is_printed(folder: Path, reference: dict[str, str]) -> None:
    done = actloc(folder, "extract-features", "toy.yaml", "machine.decoders=3", "machine.clip_batch=2", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(event["id"] for event in events if event["event"] == "video_done") == sorted(SCENES)
    assert all(event["steps"] == 16 for event in events if event["event"] == "video_done")
    assert events[-1] == {"event": "done", "path": "features", "videos": 6, "failed": 0}
    assert "actloc train toy.yaml" in done.stderr
    assert digests(folder / "features") == reference
    assert FeatureStore(folder / "features").verify() == []


def test_a_bug_in_the_decoding_process_ends_the_command_and_fails_no_video(folder: Path, tmp_path: Path) -> None:
    bug = tmp_path / "bug"
    bug.mkdir()
    (bug / "sitecustomize.py").write_text(
        "import sys\nif 'actloc.video.decode' in sys.orig_argv:\n"
        "    from actloc.video.frame_transforms import Resize\n    del Resize.target\n"
    )
    paths = os.pathsep.join([str(ROOT), str(tmp_path / "bug")])
    done = run_afresh(folder, "extract-features", "toy.yaml", PYTHONPATH=paths)
    assert done.returncode == 1
    assert "This is a bug in actloc: AttributeError: 'Resize' object has no attribute 'target'" in done.stderr
    written = re.search(r"with (\S+\.txt)", done.stderr)
    assert written
    report = Path(written[1])
    assert "video/decode.py" in report.read_text()
    report.unlink()
    assert not (folder / "features/failed.jsonl").exists()


def test_a_complete_store_is_not_touched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extract_features.run(experiment())
    before = {path: path.stat().st_mtime_ns for path in [folder / "features", *(folder / "features").iterdir()]}
    capsys.readouterr()
    assert extract_features.run(experiment()) == 0
    assert "already complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in [folder / "features", *(folder / "features").iterdir()]} == before


def test_bad_videos_are_named_and_only_they_are_tried_again(
    folder: Path, reference: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("videos", "good")
    Path("videos/v1.mp4").write_bytes(b"")
    Path("videos/v3.mp4").write_text("I am a video")
    assert extract_features.run(experiment()) == 3
    store = FeatureStore(folder / "features")
    rows = store.failed()
    assert [(row["id"], row["path"], row["reason"]) for row in rows] == [
        ("v1", "videos/v1.mp4", "unreadable"),
        ("v3", "videos/v3.mp4", "unreadable"),
    ]
    assert all(set(row) == {"id", "path", "reason", "detail", "expected", "found"} for row in rows)
    printed = capsys.readouterr().err
    assert "2 of 6 videos failed, 4 succeeded" in printed
    assert "2 unreadable" in printed
    before = {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.h5")}
    for name in ("v1", "v3"):
        shutil.copy(f"good/{name}.mp4", f"videos/{name}.mp4")
    assert extract_features.run(experiment()) == 0
    assert not (store.folder / "failed.jsonl").exists()
    assert digests(store.folder) == reference
    assert all((store.folder / name).stat().st_mtime_ns == stamp for name, stamp in before.items())


def test_other_settings_are_refused_and_nothing_is_touched(folder: Path) -> None:
    extract_features.run(experiment())
    before = digests(folder / "features")
    with pytest.raises(UserError, match=r"features.fps: 8.0 in the store, 10.0 in the settings"):
        extract_features.run(experiment("features.fps=10"))
    assert digests(folder / "features") == before
    assert extract_features.run(experiment("features.fps=10"), overwrite=True) == 0
    assert digests(folder / "features") != before
    assert FeatureStore(folder / "features").verify() == []


@pytest.mark.parametrize(
    ("value", "dtype", "reason"), [(float("nan"), "float32", "non_finite"), (70000.0, "float16", "out_of_range")]
)
def test_features_that_are_no_numbers_fail_their_video(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: float, dtype: str, reason: str
) -> None:
    calls: list[int] = []
    pool = Color.pool_frames

    def bad_once(self: Color, vectors: Tensor) -> Tensor:
        calls.append(1)
        return pool(self, vectors) if len(calls) > 1 else torch.full_like(pool(self, vectors), value)

    monkeypatch.setattr(Color, "pool_frames", bad_once)
    assert extract_features.run(experiment(f"features.dtype={dtype}")) == 3
    store = FeatureStore(folder / "features")
    assert [(row["id"], row["reason"]) for row in store.failed()] == [("v0", reason)]
    assert store.ids() == ["v1", "v2", "v3", "v4", "v5"]
    assert np.isfinite(store.read("v5")).all()


def test_any_file_name_is_only_a_name(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a b", "it's", 'say "x"', "x;$(touch pwned)", "视频", "😀", "--v_x", "-cii-Z0dW2E", "a%03d", "x" * 180]
    videos = {name: AnnotatedVideo(name, "train", file=Path(f"{name}.mp4")) for name in sorted(names)}
    for video in videos.values():
        shutil.copy(clips["plain.mp4"], str(video.file))
    annotation_form.write(Path("prepared/annotations.json"), Annotations(("run",), videos))
    Path("toy.yaml").write_text(CONFIG)
    assert extract_features.run(experiment()) == 0
    assert FeatureStore(Path("features")).ids() == sorted(names)
    assert not list(tmp_path.rglob("pwned"))


def test_a_video_without_a_file_is_named(folder: Path) -> None:
    path = folder / "prepared" / "annotations.json"
    form = json.loads(path.read_text())
    form["database"]["v2"]["file"] = None
    form["database"]["v3"]["file"] = "http://127.0.0.1/x.mp4"
    path.write_text(json.dumps(form))
    assert extract_features.run(experiment()) == 3
    failed = FeatureStore(folder / "features").failed()
    assert [(row["id"], row["reason"]) for row in failed] == [("v2", "not_a_file"), ("v3", "not_a_file")]


def test_a_disk_too_small_is_reported_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(EnvironmentProblem, match=r"100 bytes free"):
        extract_features.run(experiment())
    assert not list((folder / "features").glob("*.h5"))


def test_without_an_encoder_there_is_nothing_to_extract_with(folder: Path) -> None:
    text = CONFIG.replace("  encoder:\n    name: color\n    short_side: 48\n", "")
    (folder / "toy.yaml").write_text(text)
    with pytest.raises(UserError, match="has no encoder: its features are read from"):
        extract_features.run(experiment())


def test_a_kill_after_the_third_video_costs_none_of_the_three(folder: Path, reference: dict[str, str]) -> None:
    with start(folder, "extract-features", "toy.yaml", "--json") as running:
        done = []
        while len(done) < 3:
            event = json.loads(running.stdout.readline())
            done += [event["id"]] if event["event"] == "video_done" else []
        running.send_signal(signal.SIGKILL)
    store = FeatureStore(folder / "features")
    kept = store.ids()
    assert set(done) <= set(kept)
    assert digests(store.folder).items() <= reference.items()
    assert store.verify() == []
    again = actloc(folder, "extract-features", "toy.yaml", "--json")
    assert again.returncode == 0, again.stderr
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert {event["id"] for event in events if event["event"] == "video_done"} == set(SCENES) - set(kept)
    assert digests(store.folder) == reference
    assert not leftovers(folder)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_between_videos(folder: Path, reference: dict[str, str], number: int, status: int) -> None:
    patient = "machine.decode_timeout_s=1e6"  # a signal that did not end the wait would fail the test by its time limit
    with start(folder, "extract-features", "toy.yaml", patient, "--json", ACTLOC_FAULT="decode:3:hang") as running:
        running.stdout.readline()
        running.stdout.readline()
        running.send_signal(number)
        _, printed = running.communicate()
    assert running.returncode == status
    assert "Traceback" not in printed
    assert FeatureStore(folder / "features").ids() == ["v0", "v1"]
    assert not leftovers(folder)
    assert actloc(folder, "extract-features", "toy.yaml").returncode == 0
    assert digests(folder / "features") == reference


@pytest.mark.slow
def test_a_full_disk_is_status_4_and_the_rerun_completes(folder: Path, reference: dict[str, str]) -> None:
    full = actloc(folder, "extract-features", "toy.yaml", ACTLOC_FAULT="write:4:ENOSPC")
    assert full.returncode == 4
    assert "Traceback" not in full.stderr
    assert digests(folder / "features").items() < reference.items()
    assert not leftovers(folder)
    assert actloc(folder, "extract-features", "toy.yaml").returncode == 0
    assert digests(folder / "features") == reference


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["replace:{}:kill", "write:{}:ENOSPC", "fsync:{}:kill", "open:{}:EMFILE"])
def test_whatever_file_operation_fails_a_rerun_gives_the_reference(
    toy: Path, tmp_path: Path, reference: dict[str, str], fault: str
) -> None:
    for number in range(1, 20):
        folder = copy_toy(toy, tmp_path / str(number))
        first = actloc(folder, "extract-features", "toy.yaml", ACTLOC_FAULT=fault.format(number))
        assert digests(folder / "features").items() <= reference.items()
        assert FeatureStore(folder / "features").verify() == []
        again = actloc(folder, "extract-features", "toy.yaml")
        assert again.returncode == 0, again.stderr
        assert digests(folder / "features") == reference
        assert not leftovers(folder)
        shutil.rmtree(folder)
        if first.returncode == 0:
            assert number > len(SCENES)
            return
    pytest.fail("no run passed without reaching the fault")


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(folder: Path, reference: dict[str, str]) -> None:
    moments = random.Random(0)
    ways = [(), ("--shard", "1/2"), ("--shard", "2/2")]
    kills = 0
    while kills < 12:
        done = actloc(folder, "extract-features", "toy.yaml", *moments.choice(ways), kill_after_s=moments.random())
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode != 0
        assert digests(folder / "features").items() <= reference.items()
        if digests(folder / "features") == reference:
            shutil.rmtree(folder / "features")  # and once more from the beginning
    done = actloc(folder, "extract-features", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert digests(folder / "features") == reference
    assert FeatureStore(folder / "features").verify() == []
    assert not leftovers(folder)


def test_the_rows_of_failures_survive_a_stop(folder: Path) -> None:
    Path("videos/v0.mp4").write_text("no video")
    row: dict[str, Any] = {
        "id": "v5",
        "path": "videos/v5.mp4",
        "reason": "timeout",
        "detail": "",
        "expected": "",
        "found": "",
    }
    store = FeatureStore(folder / "features")
    store.begin({})
    store.write_failed([row])
    (store.folder / "store.json").unlink()
    with start(folder, "extract-features", "toy.yaml", "--json", ACTLOC_FAULT="decode:2:hang") as running:
        running.stdout.readline()
        running.send_signal(signal.SIGKILL)
    assert {row["id"] for row in store.failed()} == {"v0", "v5"}
