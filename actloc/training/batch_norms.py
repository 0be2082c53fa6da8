"""Batch norm in several processes: its statistics come from the batches of all of them, or stay as they are."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from actloc import console
from actloc.errors import UserError
from actloc.training.distributed import Processes


def share_batch_norms(network: nn.Module, processes: Processes, smallest_batch: int) -> None:
    """Makes batch norms that learn their statistics learn them from the batches of all processes.

    Otherwise every process would have a network of its own. Raises UserError where torch cannot share them: on a CPU,
    or if a process has no video of the `smallest_batch` of a step.
    """
    modules = network.train().named_modules()
    learning = {name: module for name, module in modules if isinstance(module, _BatchNorm) and module.training}
    if processes.size == 1 or not learning:
        return
    if next(network.parameters()).device.type != "cuda":
        raise UserError(
            f"{processes.size} processes train a detector on a CPU whose batch norms learn their statistics.",
            "Expected GPUs, one for each process: only there can processes share these statistics.",
            "Train in one process, or fix the statistics: detector.norm_statistics=fixed, where the detector has that.",
        )
    if smallest_batch < processes.size:
        raise UserError(
            f"{processes.size} processes train a detector whose batch norms learn their statistics, and a batch has "
            f"{console.count(smallest_batch, 'video')}.",
            "Expected at least one video of every batch for each process.",
            "Raise training.batch_size, or start fewer processes.",
        )
    for name, module in learning.items():
        shared = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        network.set_submodule(name, shared)
