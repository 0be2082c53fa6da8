"""Stop signals: they only set a flag, and the loop that sees it saves and stops."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from actloc.errors import Stopped

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """As Ctrl-C, but by another signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


@contextmanager
def interrupting() -> Iterator[None]:
    """SIGTERM and SIGUSR1 end the block as Ctrl-C does, unless work in it handles them in a way of its own.

    By default they would end the process without a word, and leave temporary files.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopping_at_once(*, is_saved: bool = True) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGUSR1 raise Stopped immediately; for work that writes each of its files whole.

    `is_saved` says whether the same command continues from what it wrote.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number, is_saved=is_saved)

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopFlag:
    """While entered, only records SIGINT, SIGTERM and SIGUSR1; a second SIGINT exits immediately.

    `is_saved` says whether the same command continues from what it wrote.
    """

    def __init__(self, *, is_saved: bool = True) -> None:
        self.signal_number = 0
        self._is_saved = is_saved
        self._before: dict[int, Any] = {}  # Any: a handler is a function, a number or None

    @property
    def is_set(self) -> bool:
        """Whether a signal asked to stop."""
        return self.signal_number != 0

    def raise_if_set(self) -> None:
        """Raises Stopped if a signal has arrived; call it where everything is saved."""
        if self.is_set:
            raise Stopped(self.signal_number, is_saved=self._is_saved)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number == signal.SIGINT == number:
            os._exit(128 + number)  # the user insists; files under their final names are complete
        self.signal_number = self.signal_number or number

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
