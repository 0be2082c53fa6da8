"""Plain lines of progress, in logs and pipes: what is done, the time left, and a note, with commas between."""

import pytest

from actloc import console


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("actloc.console.time.monotonic", lambda: now[0])
    return now


def test_time_left_is_in_hours_minutes_and_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("training", 1000) as bar:
        clock[0] += 30
        bar(91, "loss 1.5354, 0.4 GB")
    assert capsys.readouterr().err == "training: 91 of 1000, about 0:05:00 left, loss 1.5354, 0.4 GB\n"


def test_the_time_left_of_resumed_work_follows_from_this_session(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress("training", 1000, done=900) as bar:
        clock[0] += 30
        bar(0, "loading")
        clock[0] += 30
        bar(10)
    assert capsys.readouterr().err == ("training: 900 of 1000, loading\ntraining: 910 of 1000, about 0:09:00 left\n")


def test_what_is_no_count_is_in_percent(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("extracting features", 200.0, is_count=False) as bar:
        clock[0] += 31
        bar(50.0, "1 of 4 videos")
    assert capsys.readouterr().err == "extracting features: 25%, about 0:01:33 left, 1 of 4 videos\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (301, "0:05:01"), (3600, "1:00:00"), (93_784, "26:03:04")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text
