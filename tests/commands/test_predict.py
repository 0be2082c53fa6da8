"""What `predict` refuses before anything runs, and what to do instead."""

from pathlib import Path

import pytest

from tests.toy import CONFIG, actloc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "ckpt" / "toy"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text("{}")
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b c.mp4", "notes.txt"):
        (tmp_path / "clips" / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("video", "found", "todo"),
    [
        ("ckpt", "ckpt is a folder.", "It has no videos in it: name video files."),
        ("https://example.org/a.mp4", "https://example.org/a.mp4 is a URL.", "Download the video first"),
        ("clips/aa.mp4", "clips/aa.mp4 is not a file. Did you mean a.mp4?", "Check the path."),
        ("clips/note.txt", "clips/note.txt is not a file.", "Check the path."),
        ("prediction.threshold=0.2", "No videos were named.", "actloc predict RUN VIDEO..."),
    ],
)
def test_a_name_that_is_not_a_video_file_is_answered_with_what_to_name(
    folder: Path, video: str, found: str, todo: str
) -> None:
    done = actloc(folder, "predict", "ckpt/toy", video)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == found
    assert todo in done.stderr
    assert not (folder / "predictions").exists()


def test_settings_may_be_among_the_videos(folder: Path) -> None:
    done = actloc(folder, "predict", "toy", "clips/a.mp4", "prediction.threshold=2")
    assert "command line: prediction.threshold: found 2" in done.stderr
    done = actloc(folder, "predict", "toy", "clips/a.mp4", "--set", "prediction.thresh=1")
    assert "prediction.thresh is not a setting. Did you mean threshold?" in done.stderr


def test_a_video_whose_name_looks_like_a_setting_is_a_video(folder: Path) -> None:
    (folder / "prediction.thresh=1").write_text("")
    done = actloc(folder, "predict", "toy", "prediction.thresh=1")
    assert "ckpt/toy has no checkpoint" in done.stderr


def test_shards_and_engines_are_checked_before_anything_is_made(folder: Path) -> None:
    done = actloc(folder, "predict", "toy", "clips", "--shard", "3/2")
    assert (done.returncode, "--shard is 3/2." in done.stderr) == (2, True)
    assert not (folder / "predictions").exists()


def test_an_output_that_is_a_file_is_refused_and_stays(folder: Path) -> None:
    done = actloc(folder, "predict", "toy", "clips", "--output", "clips/notes.txt")
    assert (done.returncode, "clips/notes.txt is a file.\n  Expected a folder" in done.stderr) == (2, True)
    assert (folder / "clips/notes.txt").read_text() == ""


def test_a_run_without_checkpoints_names_the_command_that_was_meant(folder: Path) -> None:
    done = actloc(folder, "predict", "toy", "clips", "prediction.threshold=0.2")
    assert done.returncode == 2
    assert "Run: actloc train toy prediction.threshold=0.2" in done.stderr
    assert not (folder / "predictions").exists()
