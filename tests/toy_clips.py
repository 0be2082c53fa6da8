"""A toy set for recognition in seconds: squares of the class's colour move over noise; a tiny DualFormer learns it."""

import csv
from pathlib import Path

import av
import numpy as np

COLOURS = {"blue": (40, 40, 220), "green": (40, 200, 40), "red": (220, 40, 40)}
TRAINING, TEST = 4, 2  # clips of each class
FPS = 15
DUALFORMER = (
    "{name: dualformer, frames: 4, side: 32, crop: 32, drop_path: 0, size: {dims: [8, 8, 16, 16], "
    "depths: [2, 1, 2, 1], heads: [1, 1, 2, 2], windows: [[2, 2, 2], [2, 2, 2], [2, 1, 1], [2, 1, 1]], "
    "fine: [[2, 4, 4], [2, 2, 2], [2, 1, 1], [2, 1, 1]], coarse: [[1, 1, 1], [1, 1, 1]]}}"
)
VIDEOMAE = "{name: videomae, short_side: 32, crop: 32, drop_path: 0, size: {dim: 16, blocks: 2, heads: 2, patch: 16}}"
"""A network without batch norms, whose steps do not depend on how they are divided."""
CONFIG = f"""\
# toy: which colour moves
task: {{name: recognition}}
dataset:
  name: custom_clips
  folder: prepared
  videos: videos
  labels: labels.csv
network:
  start: random
  dropout: 0
clips:
  encoder: {DUALFORMER}
  frames: 4
  mirror: 0.5
optimizer:
  learning_rate: 1e-2
schedule:
  epochs: 3
  warmup_epochs: 0
training:
  batch_size: 4
average:
  decay: 0.5
machine:
  device: cpu
  num_workers: 0
"""


def make_clip(
    path: Path, colours: list[str], num_frames: int = 24, seed: int = 0, size: tuple[int, int] = (48, 40)
) -> Path:
    """A video of the colours one after another, each for as many frames; size is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        start = generator.integers(0, 8)
        for number in range(num_frames):
            colour = colours[number * len(colours) // num_frames]
            picture = generator.integers(90, 130, (height, width, 3), dtype=np.uint8)
            left = (start + number) % (width - 24)
            picture[8:32, left : left + 24] = COLOURS[colour]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def make_toy_clips(folder: Path) -> Path:
    """Videos, labels.csv and toy.yaml in `folder`; commands run with it as their working folder."""
    rows = [("video", "label", "subset")]
    for place, colour in enumerate(COLOURS):
        for number in range(TRAINING + TEST):
            name = f"{colour}{number}.mp4"
            make_clip(folder / "videos" / name, [colour], 20 + number, 10 * place + number)
            rows.append((name, colour, "train" if number < TRAINING else "test"))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    (folder / "toy.yaml").write_text(CONFIG)
    return folder
