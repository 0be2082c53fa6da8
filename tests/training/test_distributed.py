import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor

from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.errors import EnvironmentProblem, UserError
from actloc.structures import Batch, Grid, Sample, Targets, Visit
from actloc.training.distributed import ALONE, Processes, joined
from actloc.training.loader import Loader

BATCH_SIZE = 5


def load_sample(index: int, visit: Visit) -> Sample:
    drawing = torch.Generator().manual_seed(index)
    segments = torch.tensor([[3.0, 9.0 + index]]) if index % 2 else torch.zeros(0, 2)
    targets = Targets(segments, torch.full((len(segments),), index % 3))
    return Sample(f"v{index}", torch.randn(6, 20 + 5 * index, generator=drawing), targets, Grid(30.0, 4.0, 8.0))


def batches_of(processes: Processes, batch_size: int = BATCH_SIZE, accumulate: int = 1) -> list[Batch]:
    loader = Loader(load_sample, BATCH_SIZE, batch_size, accumulate, seed=0, num_workers=0, processes=processes)
    return next(loader.batches(0, 1))


def gradients(processes: Processes, batches: list[Batch]) -> list[Tensor | None]:
    torch.manual_seed(3)
    config = Config.small().model_copy(update={"drop_path": 0.0, "dropout": 0.0})
    detector = config.build(6, 3, 64).train().double()  # what is small beside the rest is compared too
    assert isinstance(detector, ActionFormer)
    device = torch.device("cpu")
    weights = [detector.criterion.weight_of(batch.lengths, batch.targets(device)) for batch in batches]
    detector.criterion.start_step(processes.total(sum(weights)))
    for batch in batches:
        features, mask = batch.padded(detector.padded_steps(max(batch.lengths)), device)
        losses = detector.losses(features.double(), mask, batch.targets(device))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    parameters = [*detector.parameters(), torch.nn.Parameter(torch.zeros(2).double())]  # the last is never used
    processes.add_gradients(parameters)
    return [parameter.grad for parameter in parameters]


def work(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", size)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    processes = Processes(rank, size)
    assert processes.gather(f"rank {rank}") == [f"rank {other}" for other in range(size)]
    assert processes.total(rank + 0.5) == sum(other + 0.5 for other in range(size))
    assert processes.of_first(lambda: rank) == 0
    with pytest.raises(UserError, match="found"):
        processes.of_first(lambda: refuse(rank))
    whole = gradients(processes, batches_of(processes))
    single = gradients(processes, batches_of(processes, batch_size=1, accumulate=BATCH_SIZE))  # most ranks idle
    torch.save([whole, single], f"{folder}/{rank}")
    kernel = torch.nn.Parameter(torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))
    kernel.grad = torch.zeros_like(kernel) + torch.arange(120.0).view(2, 3, 4, 5)
    processes.add_gradients([kernel])
    assert torch.equal(kernel.grad, size * torch.arange(120.0).view(2, 3, 4, 5))
    assert kernel.grad.stride() == kernel.stride(), "a fused optimizer takes its memory as it is"
    torch.distributed.destroy_process_group()


def refuse(rank: int) -> None:
    assert rank == 0, "of_first ran elsewhere"
    raise UserError("found", "expected", "fix")


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_of_the_shares_add_up_to_those_of_the_whole_batch(tmp_path: Path, size: int) -> None:
    # torch is imported once, in a process without threads, and not once for each of the job's
    multiprocessing.set_forkserver_preload(["pytest", "actloc.detectors.actionformer", "actloc.training.loader"])
    torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
        work, (size, str(tmp_path)), nprocs=size, start_method="forkserver"
    )
    expected = gradients(ALONE, batches_of(ALONE))
    for rank in range(size):
        for found in torch.load(tmp_path / str(rank)):
            for one, other in zip(found, expected, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other, rtol=0.0, atol=1e-15 + 1e-8 * other.abs().max().item())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_each_item_is_in_one_share(size: int) -> None:
    shares = [Processes(rank, size).share(range(5)) for rank in range(size)]
    assert sorted(number for share in shares for number in share) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_smaller_than_the_job_leaves_a_process_without_samples() -> None:
    assert batches_of(Processes(1, 2), batch_size=1) == []


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as processes:
        assert processes == ALONE
        assert processes.is_first
        assert processes.gather(3) == [3]
        assert processes.of_first(lambda: 4) == 4


def test_a_failed_collective_call_is_a_problem_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(items: list[int], item: int) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", fail)
    with pytest.raises(EnvironmentProblem, match="Connection closed by peer"):
        Processes(0, 2).gather(1)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "99", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"torch finds \d+ GPUs?\."), joined("cuda"):
        pass
