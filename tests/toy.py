"""A toy data set in seconds: grey videos that turn red or blue, encoded by `color`, learned by a tiny ActionFormer."""

import atexit
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

ROOT = Path(__file__).parent.parent
CONFIG = """\
# toy: red and blue stretches of grey videos
dataset:
  name: custom
  folder: prepared
  videos: videos
  annotations: labels.csv
encoder:
  name: color
  short_side: 48
features:
  name: stored
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


def actloc(
    folder: Path, *arguments: str, kill_after_s: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in `folder`, in a process forked from one that has imported everything.

    With `kill_after_s` it is killed by SIGKILL unless it ends before.
    """
    with tempfile.TemporaryDirectory() as outputs:
        paths = {name: str(Path(outputs) / name) for name in ("stdout", "stderr")}
        request = {
            "folder": str(folder),
            "arguments": arguments,
            "environment": _environment(environment),
            "kill_after_s": kill_after_s,
            **paths,
        }
        zygote = _zygote()
        assert zygote.stdin
        assert zygote.stdout
        zygote.stdin.write(json.dumps(request) + "\n")
        zygote.stdin.flush()
        status = int(zygote.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, *(Path(path).read_text() for path in paths.values()))


@functools.cache
def _zygote() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.zygote"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment({}), cwd=ROOT
    )
    atexit.register(process.kill)
    return process


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts the command line in `folder` as a process of its own, with pipes for its output."""
    command = [sys.executable, "-m", "actloc", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=_environment(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_afresh(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a new interpreter, for what an interpreter reads at its start."""
    with start(folder, *arguments, **environment) as process:
        stdout, stderr = process.communicate(timeout=240)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}
