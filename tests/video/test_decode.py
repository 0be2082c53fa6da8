import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc.errors import VideoError
from actloc.video.decode import picked
from actloc.video.reader import read_frames
from tests.clips import clip_starts
from tests.videos import FRAMES, Clips

SAMPLING = json.loads(Path("tests/golden/features/clip_sampling.json").read_text())["tsp (frames, fps, stride)"]
STEPS = [(30, 15), (25, 15), (29.97, 15), (60, 15), (24, 15), (10, 15), (7.5, 15), (59.94, 29.97), (23.976, 5)]


def of_tsp(num_frames: int, fps: float, new_fps: float) -> list[int]:
    """The rule as the specification says it (features 2.4)."""
    step = fps / new_fps
    if step.is_integer():
        return list(range(0, num_frames, int(step)))
    return (
        np.floor(np.arange(int(num_frames * (new_fps / fps)), dtype=np.float32) * np.float32(step)).astype(int).tolist()
    )


def picks(counts: list[int], decode_fps: float, fps: float) -> list[int]:
    """Numbers of the frames that `picked` takes of a video whose pictures are shown so many times each."""
    frames = [picture for picture, count in enumerate(counts) for _ in range(count)]
    rates = (Fraction(rate).limit_denominator(1_001_000) for rate in (decode_fps, fps))
    found = [picture for picture, count in picked(iter(enumerate(counts)), *rates) for _ in range(count)]  # type: ignore[arg-type]
    assert found == [frames[number] for number in of_tsp(len(frames), decode_fps, fps)]
    return found


@pytest.mark.parametrize(("decode_fps", "fps"), STEPS)
def test_frames_are_picked_by_tsps_rule(decode_fps: float, fps: float) -> None:
    for num_frames in (0, 1, 2, 3, 31, 63, 1000, 1999, 54321):
        picks([1] * num_frames, decode_fps, fps)


@given(st.lists(st.integers(1, 4), max_size=60), st.sampled_from(STEPS))
def test_pictures_shown_more_than_once_are_picked_like_frames(counts: list[int], rates: tuple[float, float]) -> None:
    picks(counts, *rates)


def test_a_broken_step_rounds_in_float32() -> None:
    place = 16501  # times 1.998 is 32968.998, which float32 has as 32969
    assert picks([1] * 33_000, 29.97, 15)[place] == 32969


def test_pictures_go_on_as_soon_as_they_are_known() -> None:
    taken = 0

    def shown():  # type: ignore[no-untyped-def]
        nonlocal taken
        for taken in range(1, 1001):
            yield taken, 1

    for number, _ in enumerate(picked(shown(), Fraction(25), Fraction(15))):
        assert taken <= (number + 2) * 5 / 3


@pytest.mark.parametrize(
    "case", ["3784,30,16", "1012,30,1", "31,30,16", "32,30,16", "100,30,16", "63,30,16", "64,30,16"]
)
def test_clips_are_those_of_tsps_extraction(case: str) -> None:
    fixture = json.loads(Path("tests/golden/features/clip_sampling.json").read_text())
    expected = fixture["tsp (frames, fps, stride)"][case]
    num_frames, fps, stride = map(int, case.split(","))
    frames = picks([1] * num_frames, fps, 15)
    starts = clip_starts(len(frames), "valid", 16, stride)
    times = [frames[start] / fps for start in starts]
    assert len(times) == expected["count"]
    assert times[:3] == expected["first3"]
    assert times[-1] == expected["last"]
    for start in starts:
        offsets = [frames[start + place] - frames[start] for place in range(16)]
        assert offsets == expected["frame_offsets_in_clip"]


def test_a_video_shown_at_30_gives_every_second_frame(clips: Clips) -> None:
    whole = list(read_frames(clips["variable.mp4"], fps=30))
    reading = read_frames(clips["variable.mp4"], fps=15, decode_fps=30)
    half = list(reading)
    assert len(whole) == FRAMES
    assert all(np.array_equal(a, b) for a, b in zip(whole[::2], half, strict=True))
    assert (reading.summary.num_frames, reading.summary.fps) == (30, 15.0)


def test_a_rate_below_that_of_the_video_itself_can_be_picked(clips: Clips) -> None:
    reading = read_frames(clips["plain.mp4"], fps=15, decode_fps="native")
    assert sum(1 for _ in reading) == 30


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("index_first_cut.mp4", "truncated"),
        ("index_last_cut.mp4", "unreadable"),
        ("hole.mp4", "damaged"),
        ("sound_cut.mkv", "truncated"),
        ("only_sound.mp4", "no_video_stream"),
    ],
)
def test_looking_for_a_videos_own_rate_hides_no_fault(clips: Clips, name: str, reason: str) -> None:
    with pytest.raises(VideoError) as caught:
        list(read_frames(clips[name], fps="native"))
    assert caught.value.reason == reason
