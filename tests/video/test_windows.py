import json
import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actloc.errors import VideoError
from actloc.settings.choices import Align
from actloc.video.windows import Picking, Windower, num_clips, offset_frames
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


# TSP picks the frames of clips out of a video shown at another rate.

SAMPLING = json.loads(Path("tests/golden/features/clip_sampling.json").read_text())["tsp (frames, fps, stride)"]
BROKEN = [(25, 15), (29.97, 15), (30000 / 1001, 15), (24, 15), (23.976, 15), (24000 / 1001, 15), (12.5, 15), (10, 15)]
BROKEN += [(50, 15), (59.94, 15), (48000 / 1001, 15), (7.5, 15), (23.976, 5), (25, 29.97)]


def floored(count: int, step: float) -> list[int]:
    return (torch.arange(count, dtype=torch.float32) * step).floor().to(torch.int64).tolist()


def clips_of_tsp(num_frames: int, fps: float, new_fps: float, length: int, stride: int) -> list[list[int]]:
    """Frames of TSP's clips, by its own arithmetic: each begins at a place of the whole video and counts anew."""
    places = floored(int(num_frames * (new_fps / fps)), fps / new_fps)
    starts = [places[number] for number in range(0, len(places) - length + 1, stride)]
    return [[start + offset for offset in floored(length, fps / new_fps)] for start in starts]


def cut(num_frames: int, picking: Picking, length: int, stride: int, align: Align = "valid") -> list[list[int]]:
    """Frames of our clips, out of all frames that the video is shown with."""
    windower = Windower(align, length, stride, lambda: picking)
    found = []
    for frame in range(num_frames):
        found += [clip.tolist() for clip in windower.add(np.array(frame))]
    return found + [clip.tolist() for clip in windower.end()]


@pytest.mark.parametrize("stride", [1, 4, 16, 40])
@pytest.mark.parametrize(("fps", "new_fps"), BROKEN)
def test_clips_pick_their_frames_as_tsp_does(fps: float, new_fps: float, stride: int) -> None:
    for num_frames in (100, 999, 1012, 3784):
        expected = clips_of_tsp(num_frames, fps, new_fps, 16, stride)
        assert cut(num_frames, Picking(fps, new_fps), 16, stride) == expected


def test_most_clips_at_25_frames_a_second_contain_frames_between_the_places_of_the_video() -> None:
    places = floored(600, 25 / 15)
    found = cut(1000, Picking(25, 15), 16, 16)
    assert found[0] == places[:16] == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18, 20, 21, 23, 25]
    assert found[1] == [26, 27, 29, 31, 32, 34, 36, 37, 39, 41, 42, 44, 46, 47, 49, 51]
    assert places[16:32] == [26, 28, 30, 31, 33, 35, 36, 38, 40, 41, 43, 45, 46, 48, 50, 51]
    others = [clip != places[16 * number : 16 * number + 16] for number, clip in enumerate(found)]
    assert (sum(others), len(others)) == (24, 37)


RATES, NEW_RATES = (st.integers(1, most).map(lambda value: value / 1001) for most in (240_000, 60_000))
VIDEOS = st.tuples(RATES, NEW_RATES, st.integers(0, 400)).filter(
    lambda video: video[2] * video[1] / video[0] < 20_000  # millions of places take seconds and show no more
)


@settings(deadline=None)
@given(VIDEOS, st.integers(1, 20), st.integers(1, 24))
@example((29.97, 15.0, 33_050), 16, 16)  # the place 16501 is frame 32968.998, which float32 has as 32969
@example((25.0, 15.0, 200_000), 16, 1000)
def test_clips_pick_their_frames_as_tsp_does_at_any_rates(
    video: tuple[float, float, int], length: int, stride: int
) -> None:
    fps, new_fps, num_frames = video
    if (fps / new_fps).is_integer():
        return
    expected = clips_of_tsp(num_frames, fps, new_fps, length, stride)
    if expected:
        assert cut(num_frames, Picking(fps, new_fps), length, stride) == expected
    else:
        with pytest.raises(VideoError, match="too_short"):
            cut(num_frames, Picking(fps, new_fps), length, stride)


@given(st.sampled_from(BROKEN), st.integers(0, 150), LENGTHS, STRIDES, st.sampled_from(["backpad", "centred"]))
def test_other_clips_pick_their_frames_the_same_way(
    rates: tuple[float, float], num_frames: int, length: int, stride: int, align: Align
) -> None:
    picking = Picking(*rates)
    places = picking.num_places(num_frames)
    starts = clip_starts(places, align, length, stride)
    if not starts:
        return
    inside = [[min(max(start + k, 0), places - 1) for k in range(length)] for start in starts]
    expected = [[picking.frame(clip[0]) + picking.frame(place - clip[0]) for place in clip] for clip in inside]
    assert cut(num_frames, picking, length, stride, align) == expected


@pytest.mark.parametrize("rates", BROKEN)
def test_only_one_clip_of_frames_to_pick_from_is_kept(rates: tuple[float, float]) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    windower = Windower("valid", 16, 16, lambda: Picking(*rates))
    most = 0
    for _ in range(400):
        frame = np.zeros(1)
        alive.append(weakref.ref(frame))
        list(windower.add(frame))
        most = max(most, sum(one() is not None for one in alive))
    assert most <= math.ceil(17 * rates[0] / rates[1]) + 3


@pytest.mark.parametrize("case", SAMPLING)
def test_clips_at_whole_steps_are_those_of_tsps_extraction(case: str) -> None:
    expected = SAMPLING[case]
    num_frames, fps, stride = map(int, case.split(","))
    frames = list(range(0, num_frames, fps // 15))
    found = [clip.tolist() for clip in clips(map(np.array, frames), "valid", 16, stride)]
    times = [clip[0] / fps for clip in found]
    assert (len(times), times[:3], times[-1]) == (expected["count"], expected["first3"], expected["last"])
    for clip in found:
        assert [frame - clip[0] for frame in clip] == expected["frame_offsets_in_clip"]
