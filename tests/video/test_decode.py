from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc.errors import VideoError
from actloc.video.decode import every
from actloc.video.reader import read_frames
from actloc.video.windows import Picking
from tests.videos import FPS, FRAMES, Clips

RATES = [(30, 15), (60, 15), (59.94, 29.97), (30, 7.5), (15, 15)]


@pytest.mark.parametrize(("decode_fps", "fps"), RATES)
@given(counts=st.lists(st.integers(1, 4), max_size=60))
def test_a_whole_step_takes_every_so_many_th_frame_of_the_video(
    decode_fps: float, fps: float, counts: list[int]
) -> None:
    frames = [picture for picture, count in enumerate(counts) for _ in range(count)]
    step = round(decode_fps / fps)
    found = [picture for picture, count in every(step, iter(enumerate(counts))) for _ in range(count)]  # type: ignore[arg-type]
    assert found == frames[::step]


def test_pictures_go_on_as_soon_as_they_are_known() -> None:
    taken = 0

    def shown():  # type: ignore[no-untyped-def]
        nonlocal taken
        for taken in range(1, 1001):
            yield taken, 1

    for number, _ in enumerate(every(3, shown())):
        assert taken == 3 * number + 1


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


@pytest.mark.parametrize(("fps", "decode_fps", "places"), [(15, 25, 30), (15, 12.5, 30), (20, "native", 40)])
def test_if_the_step_is_not_whole_every_frame_is_sent_with_the_picking_for_clips(
    clips: Clips, fps: float, decode_fps: float | Literal["native"], places: int
) -> None:
    shown = list(read_frames(clips["plain.mp4"], fps=decode_fps))
    reading = read_frames(clips["plain.mp4"], fps=fps, decode_fps=decode_fps)
    assert all(np.array_equal(a, b) for a, b in zip(shown, reading, strict=True))
    assert reading.picking == Picking(FPS if decode_fps == "native" else decode_fps, fps)
    assert (reading.summary.num_frames, reading.summary.fps) == (places, fps)


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
