"""Made-up features in the form of InternVideo2-6B's (.pt, 3200 channels) on HACS; the real ones were not at hand."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from actloc import experiment
from actloc.annotations.model import Annotations
from actloc.datasets import hacs
from actloc.errors import UserError
from actloc.experiment import Experiment
from tests.datasets.raw import RAW

FPS, CLIP, STRIDE = 30, 16, 8


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Annotations, Path]:
    RAW["hacs"](tmp_path)
    annotations, folder = hacs.Config.small(tmp_path).collect(), tmp_path / "features"
    folder.mkdir()
    for video in annotations.videos.values():
        assert video.duration_s is not None
        rows = (int(video.duration_s * FPS) - CLIP) // STRIDE + 1
        torch.save(torch.randn(rows, 3200, dtype=torch.float16), folder / f"{video.id}.pt")
    return annotations, folder


def loaded(folder: Path, *settings: str) -> Experiment:
    grid = [f"features.fps={FPS}", f"features.clip_frames={CLIP}", "features.align=valid"]
    return experiment.load("hacs_internvideo2_6b_actionformer", [*grid, f"features.path={folder}", *settings])


def test_they_are_read_in_place_on_the_grid_that_the_user_states(prepared: tuple[Annotations, Path]) -> None:
    annotations, folder = prepared
    source = loaded(folder).features.build(annotations, "training")
    assert source.in_channels == 3200
    sample = source.evaluation_sample(0)
    assert isinstance(sample.features, torch.Tensor)
    stored = torch.load(folder / "aaaaaaaaaa0.pt", weights_only=True)
    torch.testing.assert_close(sample.features, stored.float().T)
    assert (sample.grid.fps, sample.grid.stride_frames, sample.grid.offset_frames) == (FPS, STRIDE, CLIP / 2)


def test_a_rate_that_does_not_fit_the_durations_is_refused_with_the_one_that_does(
    prepared: tuple[Annotations, Path],
) -> None:
    annotations, folder = prepared
    with pytest.raises(UserError, match=r"features\.fps=30\.0 would fit"):
        loaded(folder, "features.fps=15").features.build(annotations, "training")


def test_nothing_in_such_a_file_runs(prepared: tuple[Annotations, Path], tmp_path: Path) -> None:
    annotations, folder = prepared
    marker = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    torch.save({"features": Runs()}, folder / "aaaaaaaaaa0.pt")
    with pytest.raises(UserError, match=r"aaaaaaaaaa0\.pt is not a plain \.pt file"):
        loaded(folder).features.build(annotations, "training")
    assert not marker.exists()
