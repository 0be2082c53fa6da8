"""Several processes on one job: `torchrun --nproc-per-node 2 -m actloc train CONFIG`.

The batch is global and cut between the processes; sums over it are added up, so that any number of processes takes the
same steps as one. Only the first process writes, and all see one file system.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from actloc import console
from actloc.errors import EnvironmentProblem, UserError

Item = TypeVar("Item")
_LONGEST_WAIT = timedelta(minutes=10)  # for a process that hangs; one that ends is noticed at once


@dataclass(frozen=True)
class Processes:
    """This process among those of the job; without torchrun it is the only one.

    Every method but `share` is a meeting: all processes call it, in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of `items`; the parts of all make up the whole."""
        return list(items[self.rank :: self.size])

    def total(self, value: float) -> float:
        """The value added up over the processes."""
        return sum(self.gather(value))

    def gather(self, item: Item) -> list[Item]:
        """The item of every process, by rank, in every process."""
        if self.size == 1:
            return [item]
        items: list[Item] = [item] * self.size
        with _others_may_have_ended():
            torch.distributed.all_gather_object(items, item)
        return items

    def of_first(self, make: Callable[[], Item]) -> Item:
        """What `make` gives in the first process, in every process; what it raises is raised in all of them."""
        if self.size == 1:
            return make()
        made: Item | None = None
        error: Exception | None = None
        if self.is_first:
            try:
                made = make()
            except Exception as raised:
                error = raised
        made, error = self.gather((made, error))[0]
        if error is not None:
            raise error
        return made  # type: ignore[return-value]  # without an error it is what `make` gave

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds the gradients of all processes up in one message; a weight that no process used keeps none.

        None and zero differ: the optimizer leaves a weight without gradient alone and decays one whose gradient is 0.
        """
        if self.size == 1:
            return
        is_used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        flat = torch.cat([is_used, *(_gradient(parameter).flatten() for parameter in parameters)])
        with _others_may_have_ended():
            torch.distributed.all_reduce(flat)
        is_used, *sums = torch.split(flat, [len(parameters), *(parameter.numel() for parameter in parameters)])
        for parameter, uses, summed in zip(parameters, is_used.tolist(), sums, strict=True):
            parameter.grad = summed.view_as(parameter) if uses else None


ALONE = Processes()


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@contextmanager
def _others_may_have_ended() -> Iterator[None]:
    """A meeting that fails is no bug here: another process failed, and says why."""
    try:
        yield
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"Another process of this job has ended or hangs ({error}).",
            "All processes take every step together.",
            "Look at what the other says, then run the same command again.",
        ) from error


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, joined over NCCL on GPUs and gloo elsewhere; one alone without it.

    The first process tells; when something is raised, the process that raised first does.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    console.be_quiet(os.environ["RANK"] != "0")
    if device.type == "cuda":
        _take_gpu(device)
    store, rank, size = next(rendezvous("env://", timeout=_LONGEST_WAIT))
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_LONGEST_WAIT)
    try:
        yield Processes(rank, size)
    except BaseException:
        console.be_quiet(store.add("actloc/failed", 1) != 1)
        raise
    finally:
        torch.distributed.destroy_process_group()


def _take_gpu(device: torch.device) -> None:
    """Each process on one machine works on a GPU of its own."""
    number, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.index is not None or number >= present:
        raise UserError(
            f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes on machine.device {device}; "
            f"torch sees {present} GPUs.",
            "Expected at most one process for each GPU, and no number of a GPU in the settings.",
            "Set machine.device=cuda and --nproc-per-node to the number of GPUs, or machine.device=cpu",
        )
    torch.cuda.set_device(number)
