"""Frames from memory come back from their file to the bit, at their rate; what is no frame is refused."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.errors import EnvironmentProblem, UserError
from actloc.video.frames_file import NAME, write_frames
from actloc.video.reader import read_frames

pytestmark = pytest.mark.usefixtures("forked_decoders")
FRAMES = np.random.default_rng(0).integers(0, 256, (7, 33, 47, 3), dtype=np.uint8)


@pytest.mark.parametrize("fps", [25, 29.97, 30000 / 1001, 7.5, 0.5, Fraction(24000, 1001), np.float32(12.5)], ids=str)
def test_frames_come_back_to_the_bit_at_their_rate(fps: Any, tmp_path: Path) -> None:
    assert write_frames(iter(FRAMES), fps, tmp_path / NAME) == 7
    with read_frames(tmp_path / NAME, fps="native") as reading:
        assert np.array_equal(np.stack(list(reading)), FRAMES)
    assert reading.summary.fps == pytest.approx(float(fps), rel=1e-6)
    assert reading.summary.duration_s == pytest.approx(7 / float(fps), rel=1e-6)


def test_one_frame_and_views_of_other_arrays_are_frames(tmp_path: Path) -> None:
    turned = FRAMES[:, ::-1, :, ::-1]
    write_frames(iter(turned), 25, tmp_path / NAME)
    with read_frames(tmp_path / NAME, fps="native") as reading:
        assert np.array_equal(np.stack(list(reading)), turned)
    assert write_frames(iter(FRAMES[:1]), 25, tmp_path / "one.mov") == 1
    with read_frames(tmp_path / "one.mov", fps=25) as reading:
        assert len(list(reading)) == 1


@pytest.mark.parametrize(
    ("frames", "fps", "found", "fix"),
    [
        (FRAMES / 255, 25, "Frame 0 is an array of dtype float64", "255 * frames"),
        (FRAMES.transpose(0, 3, 1, 2), 25, r"Frame 0 is an array of shape \(3, 33, 47\)", "transpose"),
        (FRAMES[..., 0], 25, r"Frame 0 is an array of shape \(33, 47\)", "numpy.stack"),
        (FRAMES[0], 25, r"Frame 0 is an array of shape \(47, 3\)", "numpy.stack"),
        ([FRAMES[0], FRAMES[0].tolist()], 25, "Frame 1 is a list", "asarray"),
        ([FRAMES[0], FRAMES[0][1:]], 25, "Frame 1 has 32 x 47 pixels, frame 0 has 33 x 47", "Resize"),
        ([], 25, "There are 0 frames", "come from"),
        (FRAMES, None, "fps is not given", "fps=25"),
        (FRAMES, 0, "fps is 0", "fps=25"),
        (FRAMES, float("nan"), "fps is nan", "fps=25"),
        (FRAMES, "25", "fps is '25'", "fps=25"),
        (FRAMES, True, "fps is True", "fps=25"),
    ],
)
def test_what_is_no_frame_is_refused(frames: Any, fps: Any, found: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=found) as refused:
        write_frames(iter(frames), fps, tmp_path / NAME)
    assert fix in refused.value.fix


def test_a_folder_that_cannot_be_written_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="Cannot write the frames"):
        write_frames(iter(FRAMES), 25, tmp_path / "missing" / NAME)
