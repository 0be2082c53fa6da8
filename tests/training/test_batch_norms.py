import pytest
import torch
from torch import nn

from actloc.detectors import tallformer
from actloc.errors import UserError
from actloc.layers.anchor_head import FixedBatchNorm
from actloc.training.batch_norms import share_batch_norms
from actloc.training.distributed import ALONE, Processes
from actloc.training.loader import smallest_batch

TWO = Processes(1, 2)


def norms(detector: nn.Module) -> list[str]:
    return sorted({type(module).__name__ for module in detector.modules() if "BatchNorm" in type(module).__name__})


def build(statistics: str) -> nn.Module:
    config = tallformer.Config.model_validate(tallformer.Config.small().model_dump() | {"norm_statistics": statistics})
    return config.build(6, 3, 64)


def test_processes_on_a_cpu_are_refused_unless_statistics_are_fixed() -> None:
    with pytest.raises(UserError, match="2 processes train a detector on a CPU") as raised:
        share_batch_norms(build("batch"), TWO, 2)
    assert "detector.norm_statistics=fixed" in raised.value.fix
    share_batch_norms(build("batch"), ALONE, 1)
    fixed = build("fixed")
    share_batch_norms(fixed, TWO, 1)
    assert norms(fixed) == ["FixedBatchNorm"]


class OnGpu(nn.Sequential):
    """Says that it is on a GPU."""

    def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
        class Parameter:
            device = torch.device("cuda")

        return iter([Parameter()])


def test_on_gpus_batch_norms_are_shared_and_keep_their_weights() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network = OnGpu(inner, FixedBatchNorm(2))
    weight, names = inner[1].weight, network.state_dict().keys()
    share_batch_norms(network, TWO, 2)
    assert norms(network) == ["FixedBatchNorm", "SyncBatchNorm"]
    assert isinstance(inner[1], nn.SyncBatchNorm)
    assert inner[1].weight is weight
    assert network.state_dict().keys() == names


def test_a_process_without_a_video_would_make_the_others_wait_for_ever() -> None:
    with pytest.raises(UserError, match=r"a batch has 1 video\."):
        share_batch_norms(OnGpu(nn.BatchNorm1d(2)), TWO, 1)


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "accumulate", "expected"),
    [(10, 4, 2, 4), (10, 4, 3, 2), (8, 4, 3, 4), (3, 4, 1, 3), (5, 4, 2, 1)],
)
def test_only_the_single_step_of_a_small_set_has_smaller_batches(
    num_samples: int, batch_size: int, accumulate: int, expected: int
) -> None:
    assert smallest_batch(num_samples, batch_size, accumulate) == expected
