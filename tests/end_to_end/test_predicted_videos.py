"""`predict --video` and `--clips`: written once, made again when something changed, and never in place of others."""

import csv
import json
import os
import signal
from pathlib import Path

import av
import pytest

from actloc.annotations.rows import Segment
from actloc.prediction import clips
from tests.toy import SCENES, actloc, copy_toy, leftovers, make_video

CALL = ("predict", "ckpt/toy", "videos", "prediction.threshold=0.02")
WANTED = ("--output", "out", "--video", "--clips", "clips")
COPIES = {f"{name}_labelled.mp4" for name in SCENES}


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(trained, tmp_path_factory.mktemp("videos") / "toy")
    done = actloc(folder, *CALL, *WANTED)
    assert done.returncode == 0, done.stderr
    assert "out has labelled copies of 6 videos" in done.stderr
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return copy_toy(whole, tmp_path / "toy")


def times(folder: Path, pattern: str = "*.mp4") -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips/index.csv").open() as stream:
        return list(csv.DictReader(stream))


def found(folder: Path) -> list[tuple[str, str]]:
    results = json.loads((folder / "out/predictions.json").read_text())["results"]
    return sorted((name, f"{one['segment'][0]:.3f}") for name, listed in results.items() for one in listed)


def test_every_video_has_a_copy_and_every_segment_a_clip(whole: Path) -> None:
    assert times(whole / "out").keys() == COPIES
    rows = index(whole)
    assert sorted((row["video"], row["start"]) for row in rows) == found(whole)
    assert {row["file"] for row in rows} == times(whole / "clips").keys()
    for row in rows:
        with av.open(str(whole / "clips" / row["file"])) as container:
            num_frames = sum(1 for _ in container.decode(video=0))
        assert abs(num_frames - 30 * (float(row["end"]) - float(row["start"]))) <= 1
        assert row["file"].startswith(f"{row['video']}_0")
        assert f"_{row['label']}_" in row["file"]
    assert not leftovers(whole)


def test_a_second_call_writes_no_video(folder: Path) -> None:
    before = {**times(folder / "out"), **times(folder / "clips")}
    again = actloc(folder, *CALL, *WANTED, ACTLOC_FAULT="decode:1:kill")
    assert again.returncode == 0, again.stderr
    assert {**times(folder / "out"), **times(folder / "clips")} == before


def test_another_threshold_makes_them_again_without_reading_for_the_network(folder: Path) -> None:
    before, rows = times(folder / "out"), index(folder)
    fewer = (*CALL[:-1], "prediction.threshold=0.1", "--overwrite")
    done = actloc(folder, *fewer, *WANTED, ACTLOC_FAULT="decode:1:kill")
    assert done.returncode == 0, done.stderr
    assert len(index(folder)) < len(rows)
    assert sorted((row["video"], row["start"]) for row in index(folder)) == found(folder)
    assert {row["file"] for row in index(folder)} == times(folder / "clips").keys()
    after = times(folder / "out")
    assert after.keys() == COPIES
    assert any(after[name] != before[name] for name in COPIES)
    without = actloc(folder, *CALL, "--output", "out", "--overwrite")
    assert without.returncode == 0, without.stderr
    assert "Removed labelled copies of earlier results of" in without.stderr
    stale = [path.name for path in (folder / "out").glob("*.mp4")]
    assert len(stale) < len(COPIES)


@pytest.mark.parametrize(("fault", "status"), [("write:{}:kill", -signal.SIGKILL), ("write:{}:term", 128 + 15)])
def test_a_stopped_call_leaves_no_half_file_and_goes_on(whole: Path, tmp_path: Path, fault: str, status: int) -> None:
    folder = copy_toy(whole, tmp_path / "toy")
    for path in [*(folder / "out").glob("v[34]*.mp4"), *(folder / "clips").glob("v2_*.mp4")]:
        path.unlink()
    before = times(folder / "out")
    stopped = actloc(folder, *CALL, *WANTED, ACTLOC_FAULT=fault.format(14))
    assert stopped.returncode == status, stopped.stderr
    for path in [*(folder / "out").glob("*.mp4"), *(folder / "clips").glob("*.mp4")]:
        with av.open(str(path)) as container:
            assert any(True for _ in container.decode(video=0))
    done = actloc(folder, *CALL, *WANTED)
    assert done.returncode == 0, done.stderr
    assert times(folder / "out").keys() == COPIES
    assert {name: time for name, time in times(folder / "out").items() if name in before} == before
    assert {row["file"] for row in index(folder)} == times(folder / "clips").keys()
    assert index(folder) == index(whole)
    assert not leftovers(folder)


def test_a_copy_that_cannot_be_written_is_an_outcome_and_no_stop(folder: Path) -> None:
    (folder / "out/v1_labelled.mp4").unlink()
    (folder / "out/v3_labelled.mp4").unlink()
    video = folder / "videos/v1.mp4"
    state = video.stat()
    content = video.read_bytes()
    video.write_bytes(b"\0" * len(content))  # damaged in place: neither size nor time differs
    os.utime(video, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = actloc(folder, *CALL, "--output", "out", "--video")
    assert done.returncode == 3, done.stderr
    assert "v1.mp4: no labelled copies: unreadable" in done.stderr
    assert times(folder / "out").keys() == COPIES - {"v1_labelled.mp4"}
    (row,) = [json.loads(line) for line in (folder / "out/failed.jsonl").read_text().splitlines()]
    assert row["id"] == "v1"
    video.write_bytes(content)
    os.utime(video, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = actloc(folder, *CALL, "--output", "out", "--video")
    assert again.returncode == 0, again.stderr
    assert times(folder / "out").keys() == COPIES
    assert (folder / "out/failed.jsonl").read_text() == ""


def test_files_of_others_are_never_replaced_unasked(folder: Path) -> None:
    (folder / "out/v2_labelled.mp4").write_text("mine")
    refused = actloc(folder, *CALL, *WANTED)
    assert refused.returncode == 2
    assert "out/v2_labelled.mp4 is not as actloc wrote it." in refused.stderr
    assert actloc(folder, *CALL, *WANTED, "--overwrite").returncode == 0
    assert (folder / "out/v2_labelled.mp4").stat().st_size > 1000
    other = actloc(folder, *CALL, "--output", "other", "--clips", "clips")
    assert other.returncode == 2
    assert "clips has clips of other results, those in out." in other.stderr
    assert not (folder / "other").exists()
    (folder / "a_file").write_text("x")
    assert "--clips a_file is a file." in actloc(folder, *CALL, "--output", "other", "--clips", "a_file").stderr


def test_what_was_made_is_not_taken_for_a_video(folder: Path) -> None:
    done = actloc(folder, *CALL, "--output", "videos", "--video", "--clips", "videos/clips")
    assert done.returncode == 0, done.stderr
    again = actloc(folder, *CALL, "--output", "videos", "--video", "--clips", "videos/clips")
    assert again.returncode == 0, again.stderr
    assert "6 of 6 videos have results already" in again.stderr
    alone = actloc(folder, *CALL[:2], "videos/v1_labelled.mp4", CALL[-1], "--output", "other")
    assert alone.returncode == 2
    assert "videos/v1_labelled.mp4 was made by predict." in alone.stderr


def test_no_copy_replaces_a_video(folder: Path) -> None:
    make_video(folder / "mine/a.mp4", SCENES["v1"])
    make_video(folder / "mine/a_labelled.mp4", SCENES["v2"])
    before = (folder / "mine/a_labelled.mp4").read_bytes()
    done = actloc(folder, *CALL[:2], "mine", CALL[-1], "--output", "mine", "--video", "--overwrite")
    assert done.returncode == 2
    assert "would replace the video mine/a_labelled.mp4" in done.stderr
    assert (folder / "mine/a_labelled.mp4").read_bytes() == before


def test_shards_share_the_videos_and_one_index_lists_all_clips(folder: Path) -> None:
    for number in (1, 2):
        shared = ("--output", "shared", "--video", "--clips", "shared_clips", "--shard", f"{number}/2")
        done = actloc(folder, *CALL, *shared)
        assert done.returncode == 0, done.stderr
    assert times(folder / "shared").keys() == COPIES
    with (folder / "shared_clips/index.csv").open() as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == [row["file"] for row in index(folder)]


def test_the_events_name_the_files(folder: Path) -> None:
    (folder / "out/v2_labelled.mp4").unlink()
    done = actloc(folder, *CALL, "--output", "out", "--video", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"event": "videos_written", "id": "v2", "paths": ["out/v2_labelled.mp4"]} in events


def test_clips_have_names_that_stay_in_their_folder() -> None:
    for label in ("../../etc", "a/b\\c", "", "...", "\0", "-x", "跳舞" * 40, "open door"):
        name = clips._name("=../id", 3, Segment(12.34, 15.55, label, 0.5))
        assert Path(name).name == name
        assert name.startswith("%3D%2E%2E%2Fid_0003_")
        assert name.endswith(("_12.3-15.6.mp4", "_12.3-15.5.mp4"))
        assert len(name.encode()) < 200
    assert clips.slug("open door") == "open_door"
    assert clips.slug("") == "action"
