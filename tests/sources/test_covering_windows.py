"""Training on all windows that cover the videos, each once in an epoch."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.sources import encoded
from actloc.sources.folders import Config
from actloc.sources.folders.source import FolderSource

VIDEOS = {  # one step a second
    "long": AnnotatedVideo("long", "train", (Action(2, 6, "run"), Action(14.5, 18.5, "run"))),
    "none": AnnotatedVideo("none", "train"),
    "short": AnnotatedVideo("short", "train", (Action(0.5, 3.5, "run"),)),
}


def source(folder: Path, **settings: Any) -> FolderSource:
    for name, steps in (("long", 30), ("none", 12), ("short", 5)):
        np.save(folder / f"{name}.npy", np.arange(steps, dtype=np.float32)[:, None].repeat(2, axis=1))
    values = {"max_steps": 8, "crop_ratio": None, "training_overlap": 0.5, "min_kept": 0.75, **settings}
    config = Config(path=folder, fps=1, clip_frames=1, stride_frames=1, **values)
    return FolderSource(config, Annotations(("run",), VIDEOS), "train")


def windows(source: FolderSource) -> list[tuple[str, int, int]]:
    """Video, first step and length of every window of an epoch."""
    found = []
    for index in range(source.num_training_samples):
        sample = source.training_sample(index, random.Random(index))
        assert sample.features[0].tolist() == list(range(sample.first_step, sample.first_step + sample.num_steps))
        found.append((sample.video_id, sample.first_step, sample.num_steps))
    return found


def test_an_epoch_has_each_window_that_keeps_an_action_once(tmp_path: Path) -> None:
    # windows reach half a step further: 4-12 s keeps half of the first action, 8-16 s five eighths of the second one
    assert windows(source(tmp_path)) == [("long", 0, 8), ("long", 12, 8), ("short", 0, 5)]
    assert windows(source(tmp_path, training_overlap=0.75))[:5] == [("long", start, 8) for start in (0, 2, 10, 12, 14)]


def test_windows_without_actions_take_part_if_the_settings_say_so(tmp_path: Path) -> None:
    found = windows(source(tmp_path, empty_windows=True))
    assert [start for name, start, _ in found if name == "long"] == [0, 4, 8, 12, 16, 20, 22]
    assert [start for name, start, _ in found if name == "none"] == [0, 4]


def test_actions_of_a_window_are_cut_and_counted_from_its_first_step(tmp_path: Path) -> None:
    sample = source(tmp_path).training_sample(1, random.Random(0))
    torch.testing.assert_close(sample.targets.segments, torch.tensor([[2.0, 6.0]]))
    cut = source(tmp_path, min_kept=0.5).training_sample(1, random.Random(0))
    torch.testing.assert_close(cut.targets.segments, torch.tensor([[-0.5, 1.5]]))


def test_without_the_setting_an_epoch_has_a_window_of_each_video(tmp_path: Path) -> None:
    assert [name for name, _, _ in windows(source(tmp_path, training_overlap=None))] == ["long", "none", "short"]


def test_videos_without_a_window_that_keeps_an_action_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No training window has an action"):
        windows(source(tmp_path, max_steps=1))


def test_settings_that_have_no_effect_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="crop_ratio: has no effect with training_overlap"):
        source(tmp_path, crop_ratio=(0.9, 1.0))
    settings = {"encoder": {"name": "color"}, "fps": 8, "clip_frames": 4, "stride_frames": 4}
    with pytest.raises(ValidationError, match=r"training_overlap: features\.name=encoded takes windows at random"):
        encoded.Config.model_validate({**settings, "name": "encoded", "crop_ratio": None, "training_overlap": 0.5})
