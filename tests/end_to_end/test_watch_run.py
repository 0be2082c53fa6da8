"""`actloc watch`: a file gives what `predict` finds, a lost connection is opened again, other sources are refused."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from tests import torchless
from tests.toy import TEST_VIDEOS, actloc, copy_toy, start

EVERYTHING = ("--set", "prediction.threshold=0", "--set", "suppression.max_kept=100000")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return copy_toy(trained, tmp_path / "toy")


def segments(folder: Path, output: str = "watched") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / output / "segments.jsonl").read_text().splitlines()]


def predicted_in(folder: Path) -> list[dict[str, Any]]:
    results: dict[str, Any] = json.loads((folder / "out/predictions.json").read_text())["results"]
    return list(results[TEST_VIDEOS[0]])


def same(found: list[dict[str, Any]], predicted: list[dict[str, Any]]) -> bool:
    """Whether these are the same segments, within 1e-3 s."""
    left = [(one["label"], *one["segment"], one["score"]) for one in predicted]
    for one in found:
        row = (one["label"], one["start_s"], one["end_s"], one["score"])
        like = [other for other in left if other[0] == row[0]]
        best = min(like, key=lambda other: max(abs(a - b) for a, b in zip(other[1:], row[1:], strict=True)))
        if max(abs(a - b) for a, b in zip(best[1:], row[1:], strict=True)) > 1e-3:
            return False
        left.remove(best)
    return not left


@pytest.mark.slow
def test_a_file_gives_what_predict_finds_and_a_folder_is_used_once(folder: Path) -> None:
    video = f"videos/{TEST_VIDEOS[0]}.mp4"
    predict = ("ckpt/toy", video, "--output", "out", *EVERYTHING)
    done = actloc(folder, "predict", *predict)
    assert done.returncode == 0, done.stderr
    predicted = predicted_in(folder)
    watch = ("watch", "ckpt/toy", video, "--every", "1", "--longest-action", "100", *EVERYTHING)
    done = actloc(folder, *watch)
    assert done.returncode == 0, done.stderr
    assert "at most" in done.stderr
    assert len(predicted) > 5
    assert same(segments(folder), predicted)
    assert len(done.stdout.splitlines()) == len(predicted)
    again = actloc(folder, *watch)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    short = actloc(folder, *watch[:5], "--longest-action", "0.5", *EVERYTHING, "--overwrite", "--json")
    assert short.returncode == 0, short.stderr
    events = [json.loads(line) for line in short.stdout.splitlines()]
    assert {"delay", "segment"} <= {event["event"] for event in events}
    assert all(one["end_s"] - one["start_s"] <= 0.5 + 1e-6 for one in segments(folder))
    assert "longer than 0.5 s, and dropped" in short.stderr
    assert len(segments(folder)) > 0
    limited = actloc(folder, "predict", *predict, "prediction.longest_action_s=0.5", "--overwrite")
    assert limited.returncode == 0, limited.stderr
    assert same(segments(folder), predicted_in(folder))
    assert len(segments(folder)) == len(predicted_in(folder)) != len(predicted)
    dropped = [line for line in limited.stderr.splitlines() if "longer than 0.5 s, and dropped" in line]
    (counted,) = (event["candidates"] for event in events if "candidates" in event)
    assert dropped[0].split()[:3] == ["Warning:", f"{TEST_VIDEOS[0]}:", str(counted)]


@contextmanager
def sending(video: Path, port: int) -> Iterator[None]:
    """ffmpeg sends a video again and again to who connects to the port; it is killed at the end."""
    command = [get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", str(video), "-c", "copy", "-f", "mpegts"]
    with subprocess.Popen([*command, f"tcp://127.0.0.1:{port}?listen=1"], stderr=subprocess.DEVNULL) as sender:
        try:
            yield
        finally:
            sender.kill()


@pytest.mark.slow
def test_a_sender_that_is_killed_and_started_again_is_found_again(folder: Path) -> None:
    video = folder / f"videos/{TEST_VIDEOS[0]}.mp4"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    watch = ("watch", "ckpt/toy", f"tcp://127.0.0.1:{port}", "--retry-for", "60", "--every", "1", *EVERYTHING, "--json")
    with start(folder, *watch) as running:

        def wait_for(event: str, text: str = "") -> None:
            while (line := json.loads(running.stdout.readline()))["event"] != event or text not in str(line):
                pass

        with sending(video, port):
            wait_for("segment")
        wait_for("warning", "trying again")
        with sending(video, port):
            wait_for("warning", "connected again")
            wait_for("segment")
            running.send_signal(signal.SIGINT)
            _, said = running.communicate()
    assert running.returncode == 130
    assert f"tcp://127.0.0.1:{port}: connected again after" in said
    assert f"Wrote {len(segments(folder))} segments" in said


@pytest.mark.slow
def test_a_pipe_that_is_idle_can_be_left(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with start(folder, "watch", "ckpt/toy", "pipe", "--json", *EVERYTHING) as running:
        assert json.loads(running.stdout.readline())["event"] == "delay"
        with (folder / "pipe").open("wb"):
            running.send_signal(signal.SIGINT)
            _, said = running.communicate()
    assert running.returncode == 130
    assert "Stopped by SIGINT" in said
    assert segments(folder) == []


@pytest.mark.slow
def test_what_is_no_video_is_named_and_low_scores_are_said(folder: Path) -> None:
    (folder / "notes.mp4").write_text("no video")
    done = actloc(folder, "watch", "ckpt/toy", "notes.mp4", "prediction.threshold=1")
    assert "Run: actloc watch ckpt/toy notes.mp4 --set prediction.threshold=1" in done.stderr
    done = actloc(folder, "watch", "ckpt/toy", "notes.mp4", "--set", "prediction.threshold=1")
    assert done.returncode == 2
    assert "unreadable: notes.mp4: " in done.stderr
    video = f"videos/{TEST_VIDEOS[0]}.mp4"
    done = actloc(folder, "watch", "ckpt/toy", video, "--set", "prediction.threshold=1", "--overwrite")
    assert "Nothing reached its score threshold; the best was" in done.stderr


def test_wrong_sources_are_refused_without_torch(folder: Path) -> None:
    cases = {"http://a/b.mp4": "tcp://HOST:PORT", "nowhere.mp4": "cannot be read", "videos": "is a folder"}
    found = torchless.outcomes([(folder, ["watch", "ckpt/toy", source]) for source in cases])
    for (source, text), (status, output) in zip(cases.items(), found, strict=True):
        assert status == 2, output
        assert text in output, source
