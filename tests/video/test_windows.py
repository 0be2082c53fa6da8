import math
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc.errors import VideoError
from actloc.settings.choices import Align
from actloc.video.windows import num_clips, offset_frames
from tests.clips import clip_starts, clips

ALIGNS = st.sampled_from(["valid", "backpad", "centred"])
COUNTS, LENGTHS, STRIDES = st.integers(0, 70), st.integers(1, 20), st.integers(1, 24)


@pytest.mark.parametrize(
    ("frames", "align", "length", "stride", "count"),
    [
        (5091, "valid", 16, 4, 1269),  # video_validation_0000051 and its published I3D features
        (15, "valid", 16, 4, 0),
        (16, "valid", 16, 4, 1),
        (39, "backpad", 32, 16, 2),
        (49564, "backpad", 32, 16, 3097),  # P01_01 of EPIC-Kitchens: 1652.15 s at 30 frames per second
        (49564, "valid", 32, 16, 3096),
        (31, "backpad", 32, 16, 0),
        (100, "centred", 16, 8, 13),
        (3, "centred", 16, 8, 1),
    ],
)
def test_counts_are_those_of_the_published_features(
    frames: int, align: Align, length: int, stride: int, count: int
) -> None:
    assert num_clips(frames, align, length, stride) == count


def test_the_last_clip_of_backpad_ends_with_the_video() -> None:
    assert clip_starts(39, "backpad", 32, 16) == [0, 7]


def test_centred_clips_repeat_the_ends() -> None:
    frames = [np.array([number]) for number in range(6)]
    found = [clip[:, 0].tolist() for clip in clips(frames, "centred", 4, 2)]
    assert found == [[0, 0, 0, 1], [0, 1, 2, 3], [2, 3, 4, 5]]


@pytest.mark.parametrize(("align", "offset"), [("valid", 8.0), ("backpad", 8.0), ("centred", 0.0)])
def test_the_grid_begins_at_the_centre_of_the_first_clip(align: Align, offset: float) -> None:
    assert offset_frames(align, 16) == offset


@given(ALIGNS, COUNTS, LENGTHS, STRIDES)
def test_clips_in_one_pass_are_those_that_starts_and_clamping_say(
    align: Align, count: int, length: int, stride: int
) -> None:
    starts = clip_starts(count, align, length, stride)
    assert len(starts) == num_clips(count, align, length, stride)
    frames = (np.array([number]) for number in range(count))
    if not starts:
        with pytest.raises(VideoError, match="too_short"):
            list(clips(frames, align, length, stride))
        return
    found = [clip[:, 0].tolist() for clip in clips(frames, align, length, stride)]
    assert found == [[min(max(i, 0), count - 1) for i in range(start, start + length)] for start in starts]


@given(COUNTS, LENGTHS, STRIDES)
def test_counts_follow_the_published_formulas(count: int, length: int, stride: int) -> None:
    assert num_clips(count, "centred", length, stride) == math.ceil(count / stride)
    if count >= length:
        assert num_clips(count, "valid", length, stride) == (count - length) // stride + 1
        assert num_clips(count, "backpad", length, stride) == math.ceil((count - length) / stride) + 1


def test_only_one_clip_of_frames_is_kept() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[np.ndarray]:
        for _ in range(200):
            frame = np.zeros(1)
            alive.append(weakref.ref(frame))
            yield frame

    most = max(sum(frame() is not None for frame in alive) for _ in clips(frames(), "valid", 8, 3))
    assert most <= 10
