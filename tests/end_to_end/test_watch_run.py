"""`actloc watch`: a file gives what `predict` finds, a lost connection is opened again, other sources are refused."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import torchless
from tests.toy import TEST_VIDEOS, actloc, copy_toy, start
from tests.video.test_live import as_mpegts, served

EVERYTHING = ("--set", "prediction.threshold=0", "--set", "suppression.max_kept=100000")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return copy_toy(trained, tmp_path / "toy")


def segments(folder: Path, output: str = "watched") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / output / "segments.jsonl").read_text().splitlines()]


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
    done = actloc(folder, "predict", "ckpt/toy", video, "--output", "out", *EVERYTHING)
    assert done.returncode == 0, done.stderr
    predicted = json.loads((folder / "out/predictions.json").read_text())["results"][TEST_VIDEOS[0]]
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
    assert "longer than 0.5 s were dropped" in short.stderr + short.stdout


@pytest.mark.slow
def test_a_lost_connection_is_said_and_the_rest_is_found(folder: Path) -> None:
    content = as_mpegts(folder / f"videos/{TEST_VIDEOS[0]}.mp4")
    with served(content, content) as address:
        done = actloc(folder, "watch", "ckpt/toy", address, "--retry-for", "3", *EVERYTHING)
    assert done.returncode == 0, done.stderr
    assert "trying again" in done.stderr
    assert "connected again" in done.stderr
    assert max(one["end_s"] for one in segments(folder)) > 6  # each connection has 4 s


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


def test_wrong_sources_are_refused_without_torch(folder: Path) -> None:
    cases = {"http://a/b.mp4": "tcp or rtsp", "nowhere.mp4": "cannot be read", "videos": "is a folder"}
    found = torchless.outcomes([(folder, ["watch", "ckpt/toy", source]) for source in cases])
    for (source, text), (status, output) in zip(cases.items(), found, strict=True):
        assert status == 2, output
        assert text in output, source
