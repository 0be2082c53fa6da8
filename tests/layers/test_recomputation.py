import pytest
import torch
from torch import nn

from actloc.layers.recomputation import recompute


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_that_runs_twice_learns_once(momentum: float | None) -> None:
    states = []
    for is_on in (False, True):
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=momentum), nn.ReLU(), nn.Linear(3, 2))
        recompute(block, is_on)
        for _ in range(3):
            block(torch.randn(5, 4)).square().sum().backward()
        assert block[1].momentum == momentum
        states.append(block.state_dict() | {name: one.grad for name, one in block.named_parameters()})
    assert int(states[0]["1.num_batches_tracked"]) == 3
    for name, one in states[0].items():
        torch.testing.assert_close(states[1][name], one, msg=lambda text, name=name: f"{name}: {text}")


def test_recomputation_ends() -> None:
    block = nn.Linear(4, 3)
    recompute(block, True)
    recompute(block, True)
    recompute(block, False)
    assert block.forward == nn.Linear.forward.__get__(block)
