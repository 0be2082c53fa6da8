from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.errors import VideoError
from actloc.video.reader import read_frames
from actloc.video.readers import decord as reader
from actloc.video.readers import pyav
from actloc.video.readers.base import DecodingStats, Picture
from tests.videos import FPS, FRAMES, HEIGHT, WIDTH, Clips

decord = pytest.importorskip("decord")  # wheels for Linux x86-64 and Windows only


def rgb(picture: Picture) -> np.ndarray:
    return picture.frame.reformat(format="rgb24").to_ndarray()


@pytest.mark.parametrize("clip", sorted(Path("data/sample").glob("*.mp4")), ids=lambda path: path.stem)
def test_real_clips_have_the_frames_and_times_of_pyav(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_BATCH_BYTES", 10_000_000)  # some 50 frames
    ours, theirs = DecodingStats(), DecodingStats()
    for found, expected in zip(reader.pictures(clip, ours), pyav.pictures(clip, theirs), strict=True):
        assert np.array_equal(rgb(found), rgb(expected))
        assert float(found.time_s) == pytest.approx(float(expected.time_s), abs=1e-4)
    assert ours.frames == theirs.frames
    assert float(ours.end_s) == pytest.approx(float(theirs.end_s), abs=1e-3)


def test_it_never_holds_more_than_a_batch(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Watched(decord.VideoReader):  # type: ignore[misc, name-defined]
        def get_batch(self, indices: list[int]) -> Any:
            calls.append(len(indices))
            return super().get_batch(indices)

        def seek(self, position: int) -> Any:
            calls.append(f"seek {position}")
            return super().seek(position)

        def next(self) -> Any:
            pytest.fail("decord decodes on when a frame is taken by itself")

    monkeypatch.setattr(decord, "VideoReader", Watched)
    monkeypatch.setattr(reader, "_BATCH_BYTES", 25 * 3 * WIDTH * HEIGHT)
    assert sum(1 for _ in reader.pictures(clips["plain.mp4"], DecodingStats())) == FRAMES
    assert calls == [25, "seek 0", 25, "seek 0", 10, "seek 0"]


def test_a_plain_video_is_read_through_the_decoding_process(clips: Clips) -> None:
    frames = list(read_frames(clips["plain.mp4"], fps=FPS, reader="decord"))
    assert all(np.array_equal(a, b) for a, b in zip(frames, read_frames(clips["plain.mp4"], fps=FPS), strict=True))


def test_what_decord_refuses_or_gives_up_is_unreadable(clips: Clips, tmp_path: Path) -> None:
    whole = clips["plain.mp4"].read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[:3000] + bytes(len(whole) - 6000) + whole[-3000:])
    with pytest.raises(VideoError, match="unreadable") as caught:
        list(reader.pictures(tmp_path / "torn.mp4", DecodingStats()))
    assert "workspace" not in caught.value.detail
