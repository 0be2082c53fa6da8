"""A toy data set in seconds: grey videos that turn red or blue, encoded by `color`, learned by a tiny ActionFormer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe

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


def actloc(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in `folder`."""
    return subprocess.run(**_call(folder, arguments, environment), check=False, timeout=240)


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts the command line in `folder` with pipes for its output."""
    call = _call(folder, arguments, environment)
    del call["capture_output"]
    return subprocess.Popen(**call, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _call(folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "actloc", *arguments],
        "cwd": folder,
        "env": {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd()), **environment},
        "capture_output": True,
        "text": True,
    }
