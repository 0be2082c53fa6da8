import torch
from torch import nn

from actloc.training.averages import AveragedWeights


def test_a_fixed_decay_forgets_slowly() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    averages = AveragedWeights(network.state_dict(), decay=0.999, warm_up=False)
    nn.init.ones_(network.weight)
    for step in range(1000):
        averages.update(network.state_dict(), step)
    torch.testing.assert_close(averages.state_dict()["weight"].item(), 1 - 0.999**1000, rtol=1e-4, atol=0)


def test_warm_up_follows_the_weights_closely_at_first() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    averages = AveragedWeights(network.state_dict(), decay=0.999, warm_up=True)
    nn.init.ones_(network.weight)
    averages.update(network.state_dict(), 0)
    torch.testing.assert_close(averages.state_dict()["weight"].item(), 0.9)
    averages.update(network.state_dict(), 100_000)
    torch.testing.assert_close(averages.state_dict()["weight"].item(), 0.999 * 0.9 + 0.001)


def test_every_entry_is_averaged_and_integers_are_copied() -> None:
    network = nn.BatchNorm1d(3)
    averages = AveragedWeights(network.state_dict(), decay=0.5, warm_up=False)
    network(torch.randn(4, 3))
    averages.update(network.state_dict(), 0)
    found = averages.state_dict()
    assert found.keys() == network.state_dict().keys()
    assert found["num_batches_tracked"] == 1
    torch.testing.assert_close(found["running_mean"], 0.5 * network.running_mean)


def test_averages_are_not_views_of_the_weights_and_can_be_saved_and_restored() -> None:
    network = nn.Linear(2, 2)
    averages = AveragedWeights(network.state_dict(), decay=0.9, warm_up=True)
    before = averages.state_dict()["weight"].clone()
    nn.init.ones_(network.weight)
    torch.testing.assert_close(averages.state_dict()["weight"], before)
    other = AveragedWeights(network.state_dict(), decay=0.9, warm_up=True)
    other.load_state_dict(averages.state_dict())
    other.update(network.state_dict(), 0)
    averages.update(network.state_dict(), 0)
    torch.testing.assert_close(other.state_dict(), averages.state_dict())
    network.load_state_dict(averages.state_dict())
