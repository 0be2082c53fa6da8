"""A scored run of three made-up videos, whose predictions have every kind of error, and the videos of two of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actloc.evaluation.predictions import Prediction, write_predictions
from actloc.evaluation.results import Counts, Results, Threshold, TrueAction, Video
from actloc.evaluation.results_files import write_results
from tests.toy import ROOT
from tests.videos import ffmpeg

HOSTILE = '"><img src=x onerror=alert(1)>'
"""The id of the video without a file and without predictions."""
TRUTH = {
    "first": [("run", 1, 3), ("jump", 6, 8), ("run", 12, 14), ("jump", 16, 17)],
    "second": [("run", 2, 4)],
    HOSTILE: [("jump", 1, 2)],
}
PREDICTIONS = {
    "first": [
        ("run", 0.9, 1.1, 3.0),  # right
        ("run", 0.8, 1.0, 2.6),  # double detection
        ("jump", 0.7, 12.0, 14.0),  # wrong label
        ("jump", 0.6, 7.0, 9.5),  # localization
        ("run", 0.5, 7.0, 10.0),  # confusion
        ("run", 0.4, 18.5, 19.5),  # background
        ("jump", 0.35, 6.0, 8.0),  # right
        ("run", 0.2, 12.0, 14.0),  # right
    ],
    "second": [("run", 0.95, 2.0, 4.0)],
}
SECONDS = 20
ANNOTATED = {"second": [[0.0, 8.0], [12.0, 15.0]]}


def write_run(folder: Path) -> Path:
    """The run, as `eval` leaves it."""
    results = Results(
        name=folder.name, dataset="made_up", subset="test", protocol="actionformer", seed=0, checkpoint="ckpt_000001",
        weights="raw", commit=None, machine="some", version="0.1.0", created="2026-01-02T03:04:05", tious=[0.3, 0.5],
        mean_ap=[0.6, 0.5], average_map=0.55, classes=["jump", "run"], class_ap=[[0.6, 0.5]] * 2,
        truth_per_class=[3, 3], thresholds=[Threshold(score=0.35, f1=0.5), Threshold(score=0.85, f1=0.5)],
        counts=Counts(videos=3, truths=6, predictions=9),
        videos=[
            Video(id=name, duration_s=SECONDS, annotated=ANNOTATED.get(name, []),
                  truth=[TrueAction(label=a, start_s=s, end_s=e) for a, s, e in truth])
            for name, truth in TRUTH.items()
        ],
    )  # fmt: skip
    claimed = {name: [Prediction(*one) for one in listed] for name, listed in PREDICTIONS.items()}
    written = write_predictions(folder / "eval" / "test", claimed)
    write_results(folder / "eval" / "test", results, written)
    return folder


def write_videos(folder: Path, suffix: str = ".mp4") -> Path:
    """The first two videos; an .avi is one that no browser plays."""
    folder.mkdir(parents=True)
    codec = ["-c:v", "mpeg4"] if suffix == ".avi" else ["-c:v", "libx264", "-preset", "ultrafast"]
    source = ["-f", "lavfi", "-i", f"testsrc2=s=160x90:r=25:d={SECONDS}", "-f", "lavfi", "-i", f"sine=d={SECONDS}"]
    ffmpeg(*source, *codec, "-pix_fmt", "yuv420p", folder / f"first{suffix}")
    (folder / f"second{suffix}").write_bytes((folder / f"first{suffix}").read_bytes())
    return folder


@contextmanager
def viewing(folder: Path, *arguments: str | Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The address that `actloc view` prints, and its process, which is ended."""
    command = [sys.executable, "-m", "actloc", "view", *map(str, arguments), "--no-browser", "--json"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")},
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line)["address"], process
        finally:
            process.terminate()
            process.communicate(timeout=60)
