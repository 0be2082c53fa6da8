import numpy as np
import pytest

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.extraction import progress as module
from actloc.extraction.progress import Pace
from tests.clips import spacing
from tests.extraction.in_memory import RowsInMemory

SPACING = spacing(fps=10.0, clip_frames=10, stride_frames=10)
VIDEOS = [AnnotatedVideo("a", "train", duration_s=6.0), AnnotatedVideo("b", "train", duration_s=2.0)]


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_rows_move_the_bar_by_seconds_and_never_beyond_their_video(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, moves, notes = Clock(), [], []
    monkeypatch.setattr(module, "time", clock)

    def bar(advance: float = 0, note: str = "") -> None:
        moves.append(advance)
        notes.append(note)

    pace = Pace(bar, VIDEOS, SPACING, 1)
    sink = pace.watched("a", RowsInMemory())
    clock.now += 2
    sink.append(np.zeros((4, 3), np.float32))
    assert notes[-1] == "0 of 2 videos, 2.0 x real time"
    sink.append(np.zeros((4, 3), np.float32))
    assert moves == [4.0, 2.0]
    pace.over("a")
    pace.over("b")  # it failed, and gave no row
    assert sum(moves) == 8.0
    assert notes[-1] == "2 of 2 videos, 4.0 x real time"


def test_a_plain_line_tells_share_time_left_videos_and_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(console, "time", clock)
    with console.progress("extracting features", 8.0, is_count=False) as bar:
        pace = Pace(bar, VIDEOS, SPACING, 1)
        clock.now += 60
        pace.over("a")
    printed = " ".join(capsys.readouterr().err.split())
    assert printed == "extracting features: 75%, about 0:00:20 left, 1 of 2 videos, 0.1 x real time"
