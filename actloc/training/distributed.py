"""Several processes on one job: `torchrun --nproc-per-node 2 -m actloc train CONFIG`.

The batch is global and divided among the processes, which add up their sums over it, so that any number of processes
takes the same steps as one. Only the first process (rank 0) writes, and all share one file system.

Methods import torch where there are several processes: one process checks its settings without it.
"""

from __future__ import annotations  # names for the type checker only: see above

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from actloc import console
from actloc.devices import choose_device
from actloc.errors import EnvironmentProblem, Stopped, UserError
from actloc.settings.code_errors import blaming

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Item = TypeVar("Item")
_LONGEST_WAIT = timedelta(minutes=10)  # for a process that hangs; one that ends is noticed immediately


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the number of processes; without torchrun there is one.

    Every method except `share` is collective: all processes must call it, in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of `items`; each item is in the part of exactly one process."""
        return list(items[self.rank :: self.size])

    def total(self, value: float) -> float:
        """The sum of the values of all processes."""
        return sum(self.gather(value))

    def gather(self, item: Item) -> list[Item]:
        """The items of all processes, by rank; every process gets all of them."""
        if self.size == 1:
            return [item]
        import torch.distributed

        items: list[Item] = [item] * self.size
        with _others_may_have_ended():
            torch.distributed.all_gather_object(items, item)
        return items

    def of_first(self, make: Callable[[], Item]) -> Item:
        """Calls `make` in the first process only; returns its result, or raises its error, in every process."""
        if self.size == 1:
            return make()
        made: Item | None = None
        error: Exception | None = None
        if self.is_first:
            try:
                with blaming():  # what is said of the user's own code needs a traceback, which does not travel
                    made = make()
            except Exception as raised:
                error = raised
        made, error = self.gather((made, error))[0]
        if error is not None:
            raise error
        return made  # type: ignore[return-value]  # without an error, it is what `make` returned

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sums the gradients of all processes in one all-reduce; a weight that no process used keeps None.

        None and zero differ: the optimizer skips a weight without gradient, but decays one whose gradient is zero.
        """
        if self.size == 1:
            return
        import torch.distributed

        is_used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([is_used, *(gradient.flatten() for gradient in gradients)])
        with _others_may_have_ended():
            torch.distributed.all_reduce(flat)
        is_used, *sums = torch.split(flat, [len(parameters), *(parameter.numel() for parameter in parameters)])
        for parameter, gradient, uses, summed in zip(parameters, gradients, is_used.tolist(), sums, strict=True):
            gradient.copy_(summed.view_as(gradient))  # in the weight's memory order, which the fused optimizer expects
            parameter.grad = gradient if uses else None

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Gives the tensors in every process the values that they have in the first one."""
        if self.size == 1:
            return
        import torch.distributed

        for dtype in {tensor.dtype: None for tensor in tensors}:
            own = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in own])
            with _others_may_have_ended():
                torch.distributed.broadcast(flat, 0)
            for tensor, values in zip(own, torch.split(flat, [tensor.numel() for tensor in own]), strict=True):
                tensor.copy_(values.view_as(tensor))


ALONE = Processes()


@contextmanager
def _others_may_have_ended() -> Iterator[None]:
    """Turns a failed collective call into an EnvironmentProblem: the cause is in another process, which prints it."""
    try:
        yield
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"Another process of this job has ended or hangs ({error}).",
            "Expected all processes to take every step together.",
            "Read the error of the other process, then run the same command again.",
        ) from error


@contextmanager
def joined(device_name: str) -> Iterator[Processes]:
    """Connects the processes that torchrun started, over NCCL on GPUs and gloo otherwise; without it there is one.

    `device_name` is the setting machine.device; raises UserError for a GPU that does not exist.
    Rank 0 prints; if processes fail, the first to fail prints its error. Where all agreed to stop, it is rank 0 again:
    the others, which may end before it, have written nothing and do not know what it has saved.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if device_name not in ("auto", "cpu"):
            choose_device(device_name)
        yield ALONE
        return
    import torch.distributed
    from torch.distributed.rendezvous import rendezvous

    device = choose_device(device_name)
    console.be_quiet(os.environ["RANK"] != "0")
    if device.type == "cuda":
        _take_gpu(device)
    store, rank, size = next(rendezvous("env://", timeout=_LONGEST_WAIT))
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_LONGEST_WAIT)
    try:
        yield Processes(rank, size)
    except BaseException as error:
        is_agreed = isinstance(error, Stopped) and error.is_agreed
        console.be_quiet(rank != 0 if is_agreed else store.add("actloc/failed", 1) != 1)
        raise
    finally:
        torch.distributed.destroy_process_group()


def _take_gpu(device: torch.device) -> None:
    """Assigns one GPU of this machine to each of its processes."""
    import torch

    number, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.index is not None or number >= present:
        raise UserError(
            f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes on machine.device {device}; "
            f"torch finds {console.count(present, 'GPU')}.",
            "Expected at most one process per GPU, and a machine.device without a number.",
            "Set machine.device=cuda and --nproc-per-node to the number of GPUs, or machine.device=cpu",
        )
    torch.cuda.set_device(number)
