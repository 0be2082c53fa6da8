"""Clips that are evenly spread over a video, compared with mmaction2's rule in NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc.video.windows import ClipSpacing

SPACING = ClipSpacing(15.0, None, 16, 1, 16, "valid")


def starts(num_frames: int, count: int = 128, spacing: ClipSpacing = SPACING) -> tuple[int, ...]:
    return spacing.spread_layout(num_frames, count).first_frames


@pytest.mark.parametrize("num_frames", [5000, 2048, 2047, 1000, 143, 17, 16])
def test_etads_snippets_begin_where_numpy_rounds_them(num_frames: int) -> None:
    expected = np.round(np.arange(128) * (num_frames - 16) / 127).astype(int)  # ETAD: 128 snippets of 16 frames
    assert starts(num_frames) == tuple(expected)


def test_long_videos_have_gaps_and_short_ones_overlap() -> None:
    assert starts(16 + 127 * 20)[:4] == (0, 20, 40, 60)
    assert starts(16 + 127)[:4] == (0, 1, 2, 3)
    assert starts(16) == (0,) * 128
    assert [starts(num_frames)[-1] + 16 for num_frames in (16, 100, 2048, 70000)] == [16, 100, 2048, 70000]


def test_halves_are_rounded_to_even_numbers() -> None:
    assert starts(16 + 2, count=5) == (0, 0, 1, 2, 2)  # of 0, 0.5, 1, 1.5, 2
    assert starts(16 + 10, count=5) == (0, 2, 5, 8, 10)  # of 0, 2.5, 5, 7.5, 10


def test_a_single_clip_is_in_the_middle() -> None:
    assert starts(16 + 10, count=1) == (5,)


@given(st.integers(16, 10_000), st.integers(2, 300))
def test_clips_are_inside_the_video_from_its_first_frame_to_its_last(num_frames: int, count: int) -> None:
    layout = SPACING.spread_layout(num_frames, count)
    first = layout.first_frames
    assert (len(first), layout.num_rows, first[0], first[-1]) == (count, count, 0, num_frames - 16)
    distances = np.diff(first)
    assert distances.min() >= 0
    assert np.abs(np.array(first) - np.linspace(0, num_frames - 16, count)).max() <= 0.5 + 1e-9


def test_every_nth_frame_of_a_spread_clip_is_seen() -> None:
    layout = ClipSpacing(15.0, None, 16, 4, 16, "valid").spread_layout(116, 3)
    assert [list(layout.frames_of(clip)) for clip in range(3)] == [
        [0, 4, 8, 12], [50, 54, 58, 62], [100, 104, 108, 112]
    ]  # fmt: skip
