"""Loads what is needed next while the caller works on what it has."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Wanted = TypeVar("Wanted")
Loaded = TypeVar("Loaded")

_NOTICED_S = 0.01  # taking what is ready is shorter, even where other programs keep the processor busy


def load_ahead(load: Callable[[Wanted], Loaded], wanted: Iterable[Wanted], num_workers: int) -> Iterator[Loaded]:
    """Yields `load(one)` for all that is wanted, in order.

    `num_workers` threads load at most that many ahead; with 0 each is loaded when it is its turn.

    Threads, not processes: reading waits for the disk, nothing is copied, and a kill leaves no process running.
    """
    if num_workers == 0:
        yield from map(load, wanted)
        return
    with ThreadPoolExecutor(num_workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[Loaded]] = deque()
        try:
            for one in wanted:
                ahead.append(pool.submit(load, one))
                if len(ahead) > num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


class Waits:
    """How often, and how long in all, whoever works on items had to wait until the next one was loaded."""

    def __init__(self) -> None:
        self.count = 0
        """Waits of more than a hundredth of a second."""
        self.seconds = 0.0
        """Of all waits, on the clock."""

    def over(self, items: Iterable[Loaded]) -> Iterator[Loaded]:
        """The items, each when the caller asks for it."""
        iterator = iter(items)
        while True:
            began = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            waited_s = time.monotonic() - began
            self.seconds += waited_s
            self.count += waited_s > _NOTICED_S
            yield item
