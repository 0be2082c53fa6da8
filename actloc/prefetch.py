"""Loads what is needed next while the caller works on what it has."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Wanted = TypeVar("Wanted")
Loaded = TypeVar("Loaded")


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
