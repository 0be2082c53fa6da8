"""Several processes on one job: `torchrun --nproc-per-node 2 -m actloc train CONFIG`.

The batch is global and cut between the processes; sums over it are added up, so that any number of processes takes the
same steps as one. Only the first process writes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor, nn

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among those of the job; without torchrun it is the only one."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of `items`; the parts of all make up the whole."""
        return list(items[self.rank :: self.size])

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value added up over the processes."""
        if self.size == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64, device=_device())
        torch.distributed.all_reduce(summed)
        return [float(value) for value in summed]

    def gather(self, item: Item) -> list[Item]:
        """The item of every process, by rank, in every process."""
        if self.size == 1:
            return [item]
        items: list[Item | None] = [None] * self.size
        torch.distributed.all_gather_object(items, item)
        return items  # type: ignore[return-value]  # every place is filled now

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds the gradients of all processes up in one message; a weight no process used keeps none."""
        if self.size == 1:
            return
        flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
        torch.distributed.all_reduce(flat)
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _device() -> str:
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, joined over NCCL on GPUs and gloo elsewhere; one alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()
