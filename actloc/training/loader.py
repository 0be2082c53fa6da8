"""Batches in an order that depends only on seed and epoch, so that a run can resume mid-epoch with any workers."""

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from actloc.prefetch import load_ahead
from actloc.structures import Batch, Sample, Visit
from actloc.training.distributed import ALONE, Processes

LoadSample = Callable[[int, Visit], Sample]


@dataclass(frozen=True)
class Loader:
    """Divides shuffled epochs into optimizer steps of `accumulate` batches of `batch_size` samples, and each batch
    among the processes. The last, partial step of an epoch is dropped, unless it is the only one."""

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

    def batches(self, first: int, last: int) -> Iterator[list[Batch]]:
        """This process's batches of each optimizer step from `first` to `last` - 1, counted over all epochs.

        Threads load them ahead. Each sample has its own generator, so the number of threads affects only speed.
        """
        return load_ahead(self._load, range(first, last), self.num_workers)

    def _load(self, step: int) -> list[Batch]:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.num_samples, self.seed, epoch)
        size = self.batch_size * self.accumulate
        chosen = order[place * size : (place + 1) * size]
        batches = [chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size)]
        shares = [self.processes.share(batch) for batch in batches]

        first = place * self.accumulate  # number of the step's first batch in its epoch
        visits = [Visit(self.seed, epoch, first + number) for number in range(len(shares))]
        return [
            Batch(tuple(self.load_sample(index, visit) for index in share))
            for share, visit in zip(shares, visits, strict=True)
            if share
        ]


@functools.lru_cache(maxsize=2)  # steps of two epochs may be loaded at a time
def _order(num_samples: int, seed: int, epoch: int) -> list[int]:
    """The samples in the order of an epoch: made once, since a step has few of them."""
    order = list(range(num_samples))
    random.Random(f"order {seed} {epoch}").shuffle(order)
    return order


def smallest_batch(num_samples: int, batch_size: int, accumulate: int) -> int:
    """Samples of the smallest batch of any step, of all processes together."""
    is_partial = num_samples < batch_size * accumulate
    return (num_samples % batch_size or batch_size) if is_partial else batch_size


def generator_state() -> dict[str, torch.Tensor]:
    """The states of torch's generators, which dropout and drop path use."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_generator_state(states: dict[str, torch.Tensor]) -> None:
    """Restores the states of `generator_state()`, except those of devices that do not exist here."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            if f"cuda{number}" in states:
                torch.cuda.set_rng_state(states[f"cuda{number}"], number)
