"""`predict` on many videos: it goes on where it stopped, adds videos, refuses to mix results, and divides its work."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.annotation_forms.reading_files import read, segments
from tests.toy import ROOT, SCENES, actloc, copy_toy, leftovers, make_video, run_afresh

CALL = ("predict", "ckpt/toy", "videos", "prediction.threshold=0.02")


def files_of(output: Path) -> dict[str, bytes]:
    """What a user finds in an output folder."""
    found = (path for path in output.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def summary(output: Path) -> dict[str, Any]:  # Any: JSON values
    return json.loads((output / "predictions.json").read_text())["results"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run, and the folder `one` with what one undisturbed call finds in all videos."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("whole") / "toy")
    done = actloc(folder, *CALL, "--output", "one")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return copy_toy(whole, tmp_path / "toy")


def test_a_folder_is_predicted_and_every_file_of_it_is_written(whole: Path) -> None:
    assert list(summary(whole / "one")) == sorted(SCENES)
    assert any(summary(whole / "one").values())
    found = files_of(whole / "one")
    assert {f"by_video/{name}.json" for name in SCENES} | {f"{name}.srt" for name in SCENES} < found.keys()


def test_a_killed_call_goes_on_and_gives_the_same_bytes(folder: Path) -> None:
    # the first three renames make the record and its list; then comes one for each video
    killed = actloc(folder, *CALL, "--output", "out", ACTLOC_FAULT="replace:6:kill")
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (folder / "out/by_video").glob("*.json")) == ["v0.json", "v1.json"]
    assert not (folder / "out/predictions.json").exists()
    done = actloc(folder, *CALL, "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "2 of 6 videos have results already in out" in done.stderr
    assert files_of(folder / "out") == files_of(folder / "one")
    assert not leftovers(folder / "out")


def test_a_signal_ends_it_with_the_way_to_go_on(folder: Path) -> None:
    stopped = actloc(folder, *CALL, "--output", "out", ACTLOC_FAULT="replace:6:term")
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "Run the same command again to continue." in stopped.stderr
    assert actloc(folder, *CALL, "--output", "out").returncode == 0
    assert files_of(folder / "out") == files_of(folder / "one")


def test_videos_with_results_are_not_read_again(folder: Path) -> None:
    done = actloc(folder, *CALL, "--output", "one", "--json", ACTLOC_FAULT="decode:1:kill")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["id"] for event in events[:-1]] == sorted(SCENES)
    assert {event["event"] for event in events[:-1]} == {"video_done"}
    assert all(len(event["segments"]) == len(summary(folder / "one")[event["id"]]) for event in events[:-1])
    assert events[-1] == {"event": "done", "path": "one", "videos": 6}


def test_a_changed_video_is_predicted_again_and_another_one_is_added(folder: Path) -> None:
    before = summary(folder / "one")
    make_video(folder / "videos/v1.mp4", [("red", 0.2, 3.8)])
    make_video(folder / "more/v9.mp4", [("blue", 1.0, 3.0)])
    done = actloc(folder, "predict", "ckpt/toy", "videos/v1.mp4", "more", CALL[-1], "--output", "one")
    assert done.returncode == 0, done.stderr
    assert "Predicting 1 video again, whose files changed: v1" in done.stderr
    assert "The summaries in one also have 5 videos of earlier calls" in done.stderr
    now = summary(folder / "one")
    assert list(now) == ["v1", "v9", "v0", "v2", "v3", "v4", "v5"]
    assert now["v1"] != before["v1"]
    assert all(now[name] == before[name] for name in ("v0", "v2", "v3", "v4", "v5"))


def test_results_of_other_settings_are_refused_with_the_differences(folder: Path) -> None:
    before = files_of(folder / "one")
    for given, difference in (
        (("prediction.threshold=0.2",), "prediction.threshold: 0.02 there, 0.2 now"),
        ((CALL[-1], "suppression.max_kept=3"), "suppression.max_kept: "),
        ((CALL[-1], "evaluation.weights=raw"), "weights: ckpt_000008 of ckpt/toy"),
    ):
        done = actloc(folder, *CALL[:-1], *given, "--output", "one")
        assert done.returncode == 2, done.stderr
        assert difference in done.stderr
        assert "--output FOLDER; or replace these results: --overwrite" in done.stderr
        assert files_of(folder / "one") == before
    fewer = (*CALL[:2], "videos/v2.mp4", CALL[-1], "suppression.max_kept=3", "--output", "one")
    done = actloc(folder, *fewer, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert list(summary(folder / "one")) == ["v2"]
    assert {name for name in files_of(folder / "one") if name.endswith(".srt")} == {"v2.srt"}
    assert {name for name in files_of(folder / "one") if name.startswith("by_video")} == {"by_video/v2.json"}


def test_another_threshold_needs_no_reading(folder: Path) -> None:
    given = (*CALL[:-1], "prediction.threshold=0", "--output", "one", "--overwrite")
    done = actloc(folder, *given, ACTLOC_FAULT="decode:1:kill")
    assert done.returncode == 0, done.stderr
    everything = summary(folder / "one")
    assert all(len(everything[name]) >= 1 for name in SCENES)
    assert actloc(folder, *given[:-3], "--output", "anew").returncode == 0
    assert files_of(folder / "anew") == files_of(folder / "one")


def test_a_damaged_result_is_made_again(folder: Path) -> None:
    expected = files_of(folder / "one")
    for name, content in (("v0", "{}"), ("v1", "not JSON"), ("v2", expected["by_video/v3.json"].decode())):
        (folder / f"one/by_video/{name}.json").write_text(content)
    text = expected["by_video/v4.json"].decode().replace('"duration_s": ', '"duration_s": "x", "y": ')
    (folder / "one/by_video/v4.json").write_text(text)
    done = actloc(folder, *CALL, "--output", "one")
    assert done.returncode == 0, done.stderr
    for name in ("v0", "v1", "v2", "v4"):
        assert f"one/by_video/{name}.json is damaged" in done.stderr
    assert files_of(folder / "one") == expected


def test_a_video_that_failed_is_tried_again_and_its_old_subtitles_go(folder: Path) -> None:
    good = (folder / "videos/v3.mp4").read_bytes()
    (folder / "videos/v3.mp4").write_text("no video")
    done = actloc(folder, *CALL, "--output", "one")
    assert done.returncode == 3
    assert "1 of 6 videos failed, 5 succeeded; see one/failed.jsonl" in done.stderr
    assert "v3" not in summary(folder / "one")
    assert not (folder / "one/v3.srt").exists()
    assert [json.loads(row)["id"] for row in (folder / "one/failed.jsonl").read_text().splitlines()] == ["v3"]
    (folder / "videos/v3.mp4").write_bytes(good)
    assert actloc(folder, *CALL, "--output", "one").returncode == 0
    assert list(summary(folder / "one")) == sorted(SCENES)
    assert (folder / "one/failed.jsonl").read_text() == ""


def test_files_of_others_stay_and_are_not_replaced(folder: Path) -> None:
    (folder / "one/notes.srt").write_text("mine")
    (folder / "one/v0.srt").write_text("corrected by hand")
    refused = actloc(folder, *CALL, "--output", "one")
    assert refused.returncode == 2
    assert "one/v0.srt is not as actloc wrote it." in refused.stderr
    assert (folder / "one/v0.srt").read_text() == "corrected by hand"
    assert actloc(folder, *CALL, "--output", "one", "--overwrite").returncode == 0
    assert (folder / "one/notes.srt").read_text() == "mine"
    assert (folder / "one/v0.srt").read_text() != "corrected by hand"


def test_results_without_a_record_are_not_mixed_with_new_ones(folder: Path) -> None:
    (folder / "one/made_with.json").unlink()
    done = actloc(folder, *CALL, "--output", "one")
    assert done.returncode == 2
    assert "one/made_with.json, which says what they were made with, is missing or damaged" in done.stderr


def test_shards_give_the_bytes_of_one_call_and_the_last_one_writes_the_summaries(folder: Path) -> None:
    first = actloc(folder, *CALL, "--output", "out", "--shard", "2/2")
    assert first.returncode == 0, first.stderr
    assert "Other shards have 3 videos left; the one that ends last writes the summaries" in first.stderr
    assert not (folder / "out/predictions.json").exists()
    last = actloc(folder, *CALL, "--output", "out", "--shard", "1/2")
    assert last.returncode == 0, last.stderr
    assert files_of(folder / "out") == files_of(folder / "one")
    # a call without --shard does the same for a shard that never came
    assert actloc(folder, *CALL, "--output", "alone", "--shard", "1/2").returncode == 0
    done = actloc(folder, *CALL, "--output", "alone")
    assert "3 of 6 videos have results already in alone" in done.stderr
    assert files_of(folder / "alone") == files_of(folder / "one")


def test_nobody_else_writes_into_a_folder_in_use(folder: Path) -> None:
    with (folder / "one/.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = actloc(folder, *CALL, "--output", "one")
    assert done.returncode == 4
    assert "one is in use by" in done.stderr


def test_what_is_below_the_threshold_is_told_and_drawn(folder: Path) -> None:
    given = ("predict", "ckpt/toy", "videos/v2.mp4", "--output", "out", "prediction.threshold=0.9")
    done = actloc(folder, *given)
    assert done.returncode == 0, done.stderr
    assert "below the threshold (the best: 0." in done.stdout
    assert " < 0.90): prediction.threshold=0." in done.stdout
    assert "Score threshold: 0.9, by prediction.threshold" in done.stderr
    page = (folder / "out/timelines.html").read_text()
    assert "0.9, by prediction.threshold" in page
    assert 'class="bar below"' in page
    data = json.loads((folder / "out/predictions.json").read_text())
    assert data["external_data"] == {"score_thresholds": {"blue": 0.9, "red": 0.9}}
    # the advice holds: with the threshold that it names, the segment is shown
    advised = done.stdout.partition("prediction.threshold=")[2].split()[0]
    again = actloc(folder, *given[:-1], f"prediction.threshold={advised}", "--overwrite")
    assert again.returncode == 0, again.stderr
    assert summary(folder / "out")["v2"]


def test_progress_is_in_the_time_of_the_video(folder: Path) -> None:
    """On a terminal, whose output is read from its other side."""
    make_video(folder / "long.mp4", SCENES["v2"], 20.0)
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "actloc", *CALL[:2], "long.mp4", CALL[-1], "--output", "out"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 1 << 16):
            shown += part
    except OSError:  # Linux: the other side is closed
        pass
    os.close(controller)
    assert process.wait() == 0
    text = shown.decode()
    assert "0 of 20 s" in text
    assert "x real time" in text


@pytest.mark.slow
def test_ray_gives_the_bytes_of_one_call(folder: Path) -> None:
    pytest.importorskip("ray")
    (folder / "videos/broken.mp4").write_text("no video")
    plain = actloc(folder, *CALL, "--output", "plain")
    assert plain.returncode == 3, plain.stderr
    rayed = run_afresh(folder, *CALL, "--output", "rayed", "--engine", "ray")
    assert rayed.returncode == 3, rayed.stderr
    assert files_of(folder / "rayed") == files_of(folder / "plain")


def test_recognition_goes_on_in_shards_too(recognizing: Path, tmp_path: Path) -> None:
    folder = copy_toy(recognizing, tmp_path / "toy")
    call = ("predict", "ckpt/toy", "videos")
    assert actloc(folder, *call, "--output", "one").returncode == 0
    number = len(json.loads((folder / "one/class_scores.json").read_text())["results"])
    killed = actloc(folder, *call, "--output", "out", "--shard", "1/2", ACTLOC_FAULT="replace:6:kill")
    assert killed.returncode == -signal.SIGKILL
    for shard in ("2/2", "1/2"):
        done = actloc(folder, *call, "--output", "out", "--shard", shard)
        assert done.returncode == 0, done.stderr
    assert len(list((folder / "out/by_video").iterdir())) == number
    assert files_of(folder / "out") == files_of(folder / "one")
    refused = actloc(folder, *call, "--output", "out", "evaluation.clips=2")
    assert refused.returncode == 2
    assert "evaluation.clips: 1 there, 2 now" in refused.stderr
    fewer = actloc(folder, *call, "--output", "out", "prediction.top_k=1", "--overwrite", ACTLOC_FAULT="decode:1:kill")
    assert fewer.returncode == 0, fewer.stderr
    assert len((folder / "out/classes.csv").read_text().splitlines()) == number + 1


def test_pre_annotations_open_in_the_tools_and_go_when_they_are_not_asked_for(folder: Path) -> None:
    forms = "label-studio,elan,boris,csv,srt,vtt,json"
    done = actloc(folder, *CALL, "--output", "one", "--format", forms)
    assert done.returncode == 0, done.stderr
    assert "Wrote label-studio, elan, boris, vtt for annotation tools to one" in done.stderr
    found = summary(folder / "one")
    num_actions = sum(map(len, found.values()))
    assert num_actions
    for path, settings in (
        ("predictions_label_studio.json", {"annotations_fps": 30.0}),
        ("predictions_boris_project.boris", {}),
        ("segments.csv", {}),
        *((f"{name}{suffix}", {}) for name in SCENES for suffix in (".eaf", ".vtt", ".srt") if found[name]),
    ):
        read_back = segments(read(folder / "one" / path, **settings))
        number = sum(map(len, read_back.values()))
        for video, rows in read_back.items():
            for one in found[Path(video).stem]:  # each of them, to within a frame
                same = [row for row in rows if row[2] == one["label"]]
                rows.remove(next(row for row in same if row[:2] == pytest.approx(tuple(one["segment"]), abs=1 / 30)))
            assert not rows
        if "predictions" in path:
            assert number == num_actions
    (folder / "one/v0.eaf").write_text("corrected")
    assert actloc(folder, *CALL, "--output", "one").returncode == 0
    kept = {path.name for path in (folder / "one").iterdir()}
    assert not kept & {"predictions_label_studio.json", "predictions_label_studio.xml", "v1.eaf", "v1.vtt"}
    assert (folder / "one/v0.eaf").read_text() == "corrected"
    refused = actloc(folder, *CALL, "--output", "one", "--format", "elan")
    assert refused.returncode == 2
    assert "one/v0.eaf is not as actloc wrote it" in refused.stderr


def test_a_form_is_checked_before_any_video_is_opened(folder: Path) -> None:
    done = actloc(folder, "predict", "ckpt/toy", "absent.mp4", "--format", "json,lable-studio")
    assert done.returncode == 2
    assert "--format lable-studio is no form that predict writes. Did you mean label-studio?" in done.stderr
