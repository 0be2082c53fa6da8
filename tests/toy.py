"""A toy data set in seconds: grey videos that turn red or blue, encoded by `color`, learned by a tiny ActionFormer."""

import atexit
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

from imageio_ffmpeg import get_ffmpeg_exe

from tests.forked_decoder import decoder_server

ROOT = Path(__file__).parent.parent
CONFIG = """\
# toy: red and blue stretches of grey videos
dataset:
  name: custom
  folder: prepared
  videos: videos
  annotations: labels.csv
features:
  name: stored
  encoder:
    name: color
    short_side: 48
  path: features
  fps: 8
  clip_frames: 2
  stride_frames: 2
  max_steps: 32
detector:
  name: actionformer
  dim: 16
  num_heads: 2
  windows: 5
  num_branch_blocks: 2
  regression_ranges: [[0, 4], [4, 8], [8, 10000]]
  initial_normaliser: 10
optimizer:
  learning_rate: 5e-3
schedule:
  epochs: 1
  warmup_epochs: 1
training:
  batch_size: 1
machine:
  device: cpu
  decoders: 1
"""
SCENES = {
    "v0": [("red", 1.0, 2.0)],
    "v1": [("blue", 0.5, 1.75), ("red", 2.5, 3.5)],
    "v2": [("red", 0.5, 1.5), ("blue", 2.0, 3.5)],
    "v3": [("blue", 1.0, 3.0)],
    "v4": [],
    "v5": [("red", 0.75, 1.75), ("blue", 2.25, 3.25)],
}
TEST_VIDEOS = ("v2", "v5")


def make_video(path: Path, scene: list[tuple[str, float, float]], duration_s: float = 4.0) -> Path:
    """A grey video of 64 x 48 pixels and 30 frames per second that takes a colour for stretches of time."""
    boxes = "".join(f",drawbox=c={colour}:t=fill:enable='between(t,{start},{end})'" for colour, start, end in scene)
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"color=gray:s=64x48:r=30:d={duration_s}{boxes}"
    arguments = ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *arguments, f"file:{path}"], check=True)
    return path


def make_toy(folder: Path) -> Path:
    """Videos, labels.csv and toy.yaml in `folder`; commands run with it as their working folder."""
    rows = ["video,start,end,label,subset"]
    for name, scene in SCENES.items():
        make_video(folder / "videos" / f"{name}.mp4", scene)
        subset = "test" if name in TEST_VIDEOS else "train"
        rows += [f"{name}.mp4,{start},{end},{colour},{subset}" for colour, start, end in scene]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "toy.yaml").write_text(CONFIG)
    return folder


def copy_toy(toy: Path, folder: Path) -> Path:
    """A copy of a toy folder to break."""
    shutil.copytree(toy, folder, symlinks=True)
    return folder


def digests(store: Path) -> dict[str, str]:
    """sha256 of every feature file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.glob("*.h5")}


def leftovers(folder: Path) -> list[str]:
    """Temporary files that nobody will finish."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(".part")]


def training_rows(run: Path) -> list[dict[str, Any]]:
    """The steps and validations in a run's log, without what differs between equal runs: times, speed and memory."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if name.partition("/")[0] not in ("time", "speed", "memory")}
        for row in rows
        if row["event"] in ("step", "validation")
    ]


def rounding_after(steps: int) -> float:
    """What float32 may change of a logged number, relative to it: rounding that each step of training triples."""
    return 2e-6 * 3**steps


class Running:
    """The command line at work, forked from a process that has imported everything; leaving the block kills it."""

    def __init__(
        self, folder: Path, arguments: tuple[str, ...], environment: dict[str, str], *, forks_decoders: bool = True
    ) -> None:
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on leaving the block
        output, stdout = os.pipe()
        self.stdout = os.fdopen(output)
        what = {"folder": str(folder), "arguments": arguments, "environment": _environment(environment)}
        request = {"do": "run", "decoder_server": decoder_server() if forks_decoders else None, **what}
        self.pid = _asked(request, [stdout, self._stderr.fileno()])
        os.close(stdout)
        self.returncode: int | None = None

    def poll(self, timeout_s: float | None = 0.0) -> int | None:
        """The exit status, minus the number of the signal that killed it; None if it has not ended by then."""
        if self.returncode is None:
            self.returncode = _asked({"do": "wait", "pid": self.pid, "timeout_s": timeout_s}, [])
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To the process, unless its end is known."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        """Waits for the end: what there still is on stdout, and stderr."""
        written = self.stdout.read()
        self.poll(timeout_s=None)
        self._stderr.seek(0)
        return written, self._stderr.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send_signal(signal.SIGKILL)
        self.poll(timeout_s=None)
        self.stdout.close()
        self._stderr.close()


def start(folder: Path, *arguments: str, forks_decoders: bool = True, **environment: str) -> Running:
    """Starts the command line in `folder`."""
    return Running(folder, arguments, environment, forks_decoders=forks_decoders)


def actloc(
    folder: Path, *arguments: str, kill_after_s: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in `folder`; with `kill_after_s` it is killed by SIGKILL unless it ends before."""
    with start(folder, *arguments, **environment) as running:
        if kill_after_s is not None and running.poll(kill_after_s) is None:
            running.send_signal(signal.SIGKILL)
        stdout, stderr = running.communicate()
    assert running.returncode is not None
    return subprocess.CompletedProcess(arguments, running.returncode, stdout, stderr)


_one_at_a_time = threading.Lock()


@functools.cache
def _zygote() -> socket.socket:
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "tests.zygote", str(its.fileno())]
    process = subprocess.Popen(command, env=_environment({}), cwd=ROOT, pass_fds=[its.fileno()])
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _asked(request: dict[str, Any], descriptors: list[int]) -> Any:
    with _one_at_a_time:
        zygote = _zygote()
        socket.send_fds(zygote, [json.dumps(request).encode()], descriptors)
        answer = b""
        while not answer.endswith(b"\n"):
            received = zygote.recv(1 << 10)
            assert received, "the process that forks itself has ended; its stderr says why"
            answer += received
        return json.loads(answer)


def run_afresh(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a new interpreter, for what an interpreter reads at its start."""
    command = [sys.executable, "-m", "actloc", *arguments]
    return subprocess.run(
        command, cwd=folder, env=_environment(environment), capture_output=True, text=True, check=False
    )


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def predicts_as_it_scored(folder: Path, video: str) -> bool:
    """Whether `predict` finds in a test video, of which there is something to find, what `eval` of run toy found."""
    scored = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"][video]
    show_all = ("--output", "out", "--set", "prediction.threshold=0")
    done = actloc(folder, "predict", "ckpt/toy", f"videos/{video}.mp4", *show_all)
    assert done.returncode == 0, done.stderr
    predicted = json.loads((folder / "out/predictions.json").read_text())["results"][video]
    assert len(predicted) == len(scored) > 0

    def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:  # Any: JSON values
        ends = zip(one["segment"], other["segment"], strict=True)
        moved = max(abs(mine - theirs) for mine, theirs in ends)
        return one["label"] != other["label"] or moved > 1e-3 or abs(one["score"] - other["score"]) > 1e-4

    return not any(differ(one, other) for one, other in zip(predicted, scored, strict=True))
