import numpy as np
import pytest

from actloc.extraction.ray_pieces import clip_pieces
from actloc.video.windows import Picking
from tests.clips import clips, spacing


@pytest.mark.parametrize("align", ["valid", "backpad", "centred"])
@pytest.mark.parametrize(("length", "stride", "interval"), [(8, 3, 1), (8, 3, 2), (4, 9, 1), (6, 6, 3)])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_clips_of_all_pieces_are_those_of_the_video(
    align: str, length: int, stride: int, interval: int, count: int
) -> None:
    frames = [np.full((1, 1, 1), number) for number in range(50)]
    settings = spacing(align=align, clip_frames=length, stride_frames=stride, frame_interval=interval)
    found = []
    for listed, places in clip_pieces(frames, settings, count):
        assert places is not None
        assert len(places) <= count
        found += [listed[one] for one in places]
    expected = [clip[::interval] for clip in clips(frames, settings.align, length, stride)]
    assert np.array_equal(np.stack(found), np.stack(expected))


@pytest.mark.parametrize("align", ["valid", "backpad", "centred"])
@pytest.mark.parametrize("rates", [(25.0, 15.0), (12.5, 15.0), (30000 / 1001, 15.0), (7.5, 15.0)])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_clips_that_pick_their_frames_come_the_same_way(align: str, rates: tuple[float, float], count: int) -> None:
    frames = [np.full((1, 1, 1), number) for number in range(150)]
    settings, picking = spacing(align=align, clip_frames=8, stride_frames=3, frame_interval=2), Picking(*rates)
    pieces = list(clip_pieces(frames, settings, count, lambda: picking))
    found = [listed[one] for listed, places in pieces for one in places]  # type: ignore[union-attr]
    cutter = settings.windower(lambda: picking)
    expected = [clip[::2] for frame in frames for clip in cutter.add(frame)] + [clip[::2] for clip in cutter.end()]
    assert np.array_equal(np.stack(found), np.stack(expected))


def test_frames_that_clips_share_are_sent_once_in_a_piece() -> None:
    frames = [np.full((1, 1, 1), number) for number in range(64)]
    pieces = list(clip_pieces(frames, spacing(clip_frames=16, stride_frames=4), 5))
    assert [len(listed) for listed, _ in pieces] == [32, 32, 24]
    assert sum(len(places) for _, places in pieces if places is not None) == 13
