"""What comes next is loaded while the caller works, and not more than that."""

import threading
from collections.abc import Iterator

import pytest

from actloc.prefetch import Waits, load_ahead

LONG_S = 120.0  # for a thread to get its turn; nothing takes that long unless it is broken


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_next_items_are_loaded_while_the_caller_works_on_one(num_workers: int) -> None:
    loaded: list[int] = []
    changed = threading.Condition()

    def load(number: int) -> int:
        with changed:
            loaded.append(number)
            changed.notify_all()
        return number

    for taken, number in enumerate(load_ahead(load, range(9), num_workers)):
        assert number == taken
        wanted = min(taken + 1 + num_workers, 9)  # those so far, and as many more as there are threads
        with changed:
            assert changed.wait_for(lambda wanted=wanted: len(loaded) >= wanted, LONG_S)  # type: ignore[misc]
            assert len(loaded) == wanted


def test_without_threads_each_is_loaded_when_it_is_its_turn() -> None:
    loaded: list[int] = []
    for taken, _ in enumerate(load_ahead(loaded.append, range(3), 0)):
        assert loaded == list(range(taken + 1))


def test_only_waits_that_somebody_would_notice_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("actloc.prefetch.time.monotonic", lambda: now)

    def arriving() -> Iterator[int]:
        nonlocal now
        for took_s in (0.5, 0.001, 0.25):
            now += took_s
            yield 0

    waits = Waits()
    for _ in waits.over(arriving()):
        now += 3.0  # work
    assert waits.count == 2
    assert waits.seconds == pytest.approx(0.751)
