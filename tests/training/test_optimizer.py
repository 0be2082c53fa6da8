import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from actloc.training.optimizer import learning_rate, multistep_rate, parameter_groups
from tests.golden.cases import GOLDEN, load_case

FACTS = json.loads((GOLDEN / "lr.json").read_text())
with np.load(GOLDEN / "lr.npz") as _file:
    RATES = dict(_file)


@pytest.mark.parametrize("name", RATES)
def test_every_step_has_the_official_learning_rate(name: str) -> None:
    config, _, steps_per_epoch = name.rpartition("_n")
    options, spacing = FACTS[config], 50 if steps_per_epoch == "100" else 1
    found = [
        learning_rate(
            index * spacing,
            options["learning_rate"],
            int(steps_per_epoch),
            options["epochs"],
            options["warmup_epochs"],
        )
        for index in range(len(RATES[name]))
    ]
    np.testing.assert_allclose(found, RATES[name], atol=1e-15, rtol=0)


def test_a_warm_up_of_one_step_has_rate_zero_and_the_final_rate_stays() -> None:
    assert learning_rate(0, 0.1, 1, 4, 1) == 0
    assert learning_rate(1, 0.1, 1, 4, 1) == 0.1
    assert learning_rate(0, 0.1, 1, 4, 0) == 0.1
    assert learning_rate(5, 0.1, 1, 4, 1) == learning_rate(99, 0.1, 1, 4, 1) == pytest.approx(1e-8)


def pytorchs(schedule_of: Callable[[torch.optim.Optimizer], Any], num_steps: int) -> list[float]:
    """The rates of a PyTorch schedule that starts at 0.1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, rates = schedule_of(optimizer), []
    for _ in range(num_steps):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return rates


def test_without_a_warm_up_the_rate_falls_to_zero_as_pytorchs_cosine_does() -> None:
    expected = pytorchs(lambda optimizer: CosineAnnealingLR(optimizer, 3 * 4), 3 * 4 + 1)
    found = [learning_rate(step, 0.1, 3, 4, 0) for step in range(len(expected))]
    np.testing.assert_allclose(found, expected, atol=1e-15, rtol=0)
    assert found[-1] == 0


@pytest.mark.parametrize("milestones", [[], [1], [2, 5], [5, 2, 2], [100]])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 3])
def test_at_milestones_the_rate_drops_as_pytorchs_does_counted_from_the_end_of_the_warm_up(
    warmup_epochs: int, milestones: list[int]
) -> None:
    steps = [3 * milestone for milestone in milestones]
    falling = pytorchs(lambda optimizer: MultiStepLR(optimizer, steps, gamma=0.3), 3 * 8)
    expected = [learning_rate(step, 0.1, 3, 8, warmup_epochs) for step in range(3 * warmup_epochs)] + falling
    found = [multistep_rate(step, 0.1, 3, milestones, 0.3, warmup_epochs) for step in range(len(expected))]
    np.testing.assert_allclose(found, expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("name", ["thumos_short", "anet_tsp_full"])
def test_the_parameters_that_decay_are_the_official_ones(name: str) -> None:
    case = load_case(name)
    with torch.device("meta"):
        config, model = case.config(), case.facts["model_args"]
        detector = config.build(model["input_dim"], model["num_classes"], model["max_seq_len"])
    decaying, others = parameter_groups(detector, 0.05)
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    for group, official, decay in ((decaying, "decay", 0.05), (others, "no_decay", 0.0)):
        assert group["weight_decay"] == decay
        expected = sorted(key for key, _, of_group in case.official_keys() if of_group == official)
        assert [names[id(parameter)] for parameter in group["params"]] == expected


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    decaying, others = parameter_groups(model, 0.1)
    assert [len(group["params"]) for group in (decaying, others)] == [1, 3]
    assert decaying["params"][0] is model[2].weight
