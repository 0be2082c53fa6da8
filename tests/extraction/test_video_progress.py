"""How far `predict` is, in the time of the videos."""

import pytest

from actloc.extraction import video_progress
from actloc.extraction.video_progress import PaceByBytes, VideoOnBar, VideoProgress
from actloc.video.base import VideoFacts


def facts(duration_s: float) -> VideoFacts:
    return VideoFacts(duration_s=duration_s, fps=25.0, width=4, height=4)


class Bar:
    """What a bar would show."""

    def __init__(self) -> None:
        self.bytes = 0.0
        self.notes: list[str] = []

    def __call__(self, advance: float = 0, note: str = "") -> None:
        self.bytes += advance
        self.notes.append(note)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(video_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_single_video_advances_in_its_own_time(clock: list[float]) -> None:
    bar = Bar()
    pace = PaceByBytes(bar, 1)
    video = VideoOnBar(pace, facts(60.0), 1000)
    clock[0] = 5.0
    video.at(20.0)
    assert bar.notes == ["0 of 60 s", "20 of 60 s, 4.0 x real time"]
    assert bar.bytes == pytest.approx(1000 / 3)
    video.at(10.0)  # never back
    video.at(70.0)  # rows may stand for frames beyond the end
    assert bar.bytes == pytest.approx(1000)
    video.over()
    assert bar.notes[-1] == "1 of 1 video, 12.0 x real time"
    assert bar.bytes == pytest.approx(1000)


def test_a_video_that_says_nothing_still_counts(clock: list[float]) -> None:
    bar = Bar()
    pace = PaceByBytes(bar, 2)
    unknown = VideoOnBar(pace, None, 300)
    unknown.at(3.0)
    unknown.at_share(0.5)
    unknown.over()
    clock[0] = 2.0
    VideoOnBar(pace, facts(8.0), 700).over()
    assert bar.bytes == pytest.approx(1000)
    assert bar.notes == ["1 of 2 videos", "2 of 2: 0 of 8 s", "2 of 2 videos, 4.0 x real time"]


def test_windows_and_the_clips_in_them_are_shares_of_the_video() -> None:
    seen: list[float] = []

    class Watched(VideoProgress):
        def at(self, seconds: float) -> None:
            seen.append(seconds)

    video = Watched(facts(40.0))
    for _ in video.through(["a", "b"]):
        video.at_share_of_part(0.5)
    assert seen == [10.0, 20.0, 30.0, 40.0]
