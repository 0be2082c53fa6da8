"""The order of samples: fixed by seed and epoch alone, so a run can go on in the middle of one with any workers."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from actloc.structures import Batch, Sample
from actloc.training.distributed import ALONE, Processes

Loaded = TypeVar("Loaded")
LoadSample = Callable[[int, random.Random], Sample]


def load_ahead(load: Callable[[int], Loaded], numbers: Iterable[int], num_workers: int) -> Iterator[Loaded]:
    """`load` of each number, in order; `num_workers` threads stay at most that many ahead, 0 loads when asked.

    Threads and not processes: reading waits for the disk, and nothing is copied or left behind by a kill.
    """
    if num_workers == 0:
        yield from map(load, numbers)
        return
    with ThreadPoolExecutor(num_workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[Loaded]] = deque()
        try:
            for number in numbers:
                ahead.append(pool.submit(load, number))
                if len(ahead) > num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


@dataclass(frozen=True)
class Loader:
    """Cuts shuffled epochs into steps of `accumulate` batches of `batch_size` samples, and batches into the shares of
    the processes; the last partial step is left out, unless an epoch has no other."""

    load_sample: LoadSample
    num_samples: int
    batch_size: int
    accumulate: int
    seed: int
    num_workers: int
    processes: Processes = ALONE

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return max(1, self.num_samples // (self.batch_size * self.accumulate))

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        """The batches of steps `first` to `last` - 1, counted over all epochs, loaded ahead in threads.

        A sample depends on its own generator only, so the number of threads changes nothing but speed.
        """
        return load_ahead(self._load, range(first, last), self.num_workers)

    def _load(self, step: int) -> list[Batch]:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        size = self.batch_size * self.accumulate
        chosen = order[place * size : (place + 1) * size]
        batches = [chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size)]
        shares = [self.processes.share(batch) for batch in batches]
        return [Batch(tuple(self._sample(epoch, index) for index in share)) for share in shares if share]

    def _order(self, epoch: int) -> list[int]:
        order = list(range(self.num_samples))
        random.Random(f"order {self.seed} {epoch}").shuffle(order)
        return order

    def _sample(self, epoch: int, index: int) -> Sample:
        return self.load_sample(index, random.Random(f"sample {self.seed} {epoch} {index}"))


def generator_state() -> dict[str, torch.Tensor]:
    """The states of torch's generators, which dropout and drop path draw from."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_generator_state(states: dict[str, torch.Tensor]) -> None:
    """Puts the generators back to `generator_state()`; those of devices that are not here are left."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            if f"cuda{number}" in states:
                torch.cuda.set_rng_state(states[f"cuda{number}"], number)
