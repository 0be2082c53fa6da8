"""Made-up data of any size for `scripts/bench growth`: annotations, stored features, predictions and videos."""

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = tuple(f"class {number}" for number in range(5))
STEP_S = 0.5
_ACTION_STEPS, _EVERY_STEPS = 4, 8
"""The length of every action, and the distance from the start of one to that of the next."""
CONFIG = """\
dataset:
  name: custom
  folder: prepared
  annotations: labels.csv
features:
  name: stored
  path: features
  fps: 4
  clip_frames: 2
  stride_frames: 2
  max_steps: 768
detector:
  name: actionformer
  dim: 16
  num_heads: 2
  windows: 5
  num_branch_blocks: 2
  regression_ranges: [[0, 4], [4, 8], [8, 10000]]
  initial_normaliser: 10
  max_buffer_factor: 10000
schedule:
  epochs: 1
  warmup_epochs: 1
machine:
  device: cpu
  decoders: 1
  num_workers: 0
"""
COLOR = CONFIG.replace("annotations: labels.csv", "annotations: labels.csv\n  videos: videos").replace(
    "name: stored", "name: stored\n  encoder: {name: color, short_side: 48}"
)
"""The same with an encoder, for new videos."""


@dataclass(frozen=True)
class Size:
    """Of made-up data; half of the videos are for training."""

    videos: int
    actions: int
    """In each video, evenly spread."""
    steps: int
    """Of the features of each video, two a second."""

    @property
    def names(self) -> list[str]:
        """Of all videos."""
        return [f"video_{number:06}" for number in range(self.videos)]

    def actions_of(self, video: int) -> list[tuple[float, float, str]]:
        """Start and end in seconds, and the class of each action of a video."""
        starts = np.arange(self.actions) * _EVERY_STEPS * STEP_S + STEP_S
        return [
            (float(start), float(start) + _ACTION_STEPS * STEP_S, CLASSES[(video // 2 + place) % len(CLASSES)])
            for place, start in enumerate(starts)
        ]


def steps_for(actions: int) -> int:
    """The steps of a video that has room for so many actions."""
    return max(24, (actions + 1) * _EVERY_STEPS)


def make(folder: Path, size: Size, store: Path | None = None) -> Path:
    """A folder with run.yaml, labels.csv, features and predictions.json of the videos to score; what is there is kept.

    Features are made, or are those of the first videos of a larger `store`.
    """
    if (folder / "run.yaml").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w") as table:
        table.write("video,start,end,label,subset\n")
        for number, name in enumerate(size.names):
            subset = "test" if number % 2 else "train"
            for start, end, label in size.actions_of(number):
                table.write(f"{name},{start},{end},{label},{subset}\n")
    (folder / "predictions.json").write_text(json.dumps({"results": _predictions(size)}))
    if store is None:
        _fill_store(folder / "features", size)
    else:
        _link_store(store, folder / "features", size)
    (folder / "run.yaml").write_text(CONFIG)
    return folder


def make_video(path: Path, minutes: float) -> Path:
    """A video of 64 x 48 pixels and 8 frames per second; an existing one is kept."""
    from scripts.benchmarks.extraction import make_video as moving_picture

    return moving_picture(path, "64x48", minutes * 60, fps=8)


def _predictions(size: Size) -> dict[str, list[dict[str, object]]]:
    """Two for each action of the videos to score, one of them near it."""
    draw, results = random.Random(0), {}
    for number, name in list(enumerate(size.names))[1::2]:
        found = []
        for start, end, label in size.actions_of(number):
            moved = start + draw.uniform(-0.5, 0.5), end + draw.uniform(-0.5, 0.5)
            found.append({"label": label, "score": round(draw.uniform(0.3, 1.0), 6), "segment": moved})
            missed = start + 2.0 + draw.uniform(-0.5, 0.5), end + 2.0 + draw.uniform(-0.5, 0.5)
            found.append({"label": draw.choice(CLASSES), "score": round(draw.uniform(0.0, 0.7), 6), "segment": missed})
        results[name] = found
    return results


def _fill_store(folder: Path, size: Size) -> None:
    """Features of noise, in files like those of `import-features`."""
    from actloc.store.filling import describe
    from actloc.store.store import IMPORTED, FeatureStore
    from actloc.video.windows import ClipSpacing

    fps, stride = 4.0, round(4 * STEP_S)
    spacing = ClipSpacing(fps, None, stride, 1, stride, "valid")
    made_by = {IMPORTED: {"recipe": "noise"}}
    store, draw = FeatureStore(folder), np.random.default_rng(0)
    store.begin(made_by)
    for name in size.names:
        features = draw.random((size.steps, 6), np.float32)
        facts = describe(
            name,
            (1, "0" * 64),
            encoder="noise",
            weights_sha256=None,
            recipe=made_by,
            spacing=spacing,
            fps=fps,
            frame_count=size.steps * stride,
            duration_s=size.steps * STEP_S,
            reader="pyav",
        )
        store.write(name, features, facts)
    store.write_index()


def _link_store(store: Path, folder: Path, size: Size) -> None:
    """A store of the first videos of a larger one, whose files it shares."""
    from actloc.store.store import FeatureStore

    folder.mkdir(parents=True)
    os.link(store / "store.json", folder / "store.json")
    for name in size.names:
        os.link(store / f"{name}.h5", folder / f"{name}.h5")
    FeatureStore(folder).write_index()
