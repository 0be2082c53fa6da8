"""How much of the initial weights the averages still hold."""

import pytest
import torch

from actloc.experiment import load
from actloc.training.averages import AveragedWeights
from actloc.training.initial_share import initial_share


@pytest.mark.parametrize(("decay", "warm_up", "steps"), [(0.999, False, 360), (0.9, True, 3), (0.5, True, 40)])
def test_the_share_is_what_the_averages_hold(decay: float, warm_up: bool, steps: int) -> None:
    averages = AveragedWeights({"w": torch.ones(1, dtype=torch.float64)}, decay=decay, warm_up=warm_up)
    for step in range(steps):  # all later weights are 0
        averages.update({"w": torch.zeros(1, dtype=torch.float64)}, step)
    held = float(averages.state_dict()["w"])
    assert initial_share(decay, steps, warm_up=warm_up) == pytest.approx(held, rel=1e-9)


def test_the_config_for_own_videos_forgets_the_initial_weights_soon() -> None:
    average = load("own_videos").average
    assert initial_share(average.decay, 20, warm_up=average.warm_up) < 1e-3
