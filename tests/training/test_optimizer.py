import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, MultiStepLR

from actloc.settings.sections import ScheduleSettings
from actloc.training.optimizer import learning_rate, multistep_rate, parameter_groups, restarting_rate, scheduled_rate
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


def test_after_8_epochs_the_rate_drops_for_the_ninth_and_after_10_again() -> None:
    settings = ScheduleSettings(name="multistep", epochs=12, warmup_epochs=0, milestones=(8, 10))
    found = [scheduled_rate(step, 1e-4, 3, settings) for step in range(3 * 12)]
    np.testing.assert_allclose(found, [1e-4] * 24 + [1e-5] * 6 + [1e-6] * 6)


def test_with_restarts_the_rate_is_pytorchs_of_the_epoch() -> None:
    per_epoch = pytorchs(lambda optimizer: CosineAnnealingWarmRestarts(optimizer, 4, eta_min=0.1 * 0.05), 11)
    found = [restarting_rate(step, 0.1, 3, 4, 0.05, 0) for step in range(3 * 11)]
    np.testing.assert_allclose(found, np.repeat(per_epoch, 3), atol=1e-15, rtol=0)
    assert found[12] == found[24] == 0.1
    warmed = [restarting_rate(step, 0.1, 3, 4, 0.05, 2) for step in range(6 + 3 * 11)]
    np.testing.assert_allclose(warmed, [learning_rate(step, 0.1, 3, 4, 2) for step in range(6)] + found)


def test_a_cosine_falls_to_a_share_of_the_rate_if_the_settings_name_one() -> None:
    settings = ScheduleSettings(epochs=5, warmup_epochs=10, lowest_share=0.05)  # TriDet on ActivityNet, eta_min 5e-5
    found = [scheduled_rate(step, 1e-3, 7, settings) for step in range(7 * 15)]
    progress = np.arange(7 * 5) / (7 * 5)
    np.testing.assert_allclose(found[70:], 5e-5 + 0.5 * (1e-3 - 5e-5) * (1 + np.cos(np.pi * progress)), rtol=1e-12)
    assert found[:70] == [learning_rate(step, 1e-3, 7, 5, 10) for step in range(70)]


TALLFORMER = ScheduleSettings(
    name="cosine_restarts", epochs=1000, warmup_epochs=0, restart_epochs=100, warmup_steps=500
)


def test_a_warm_up_in_steps_multiplies_the_rate_of_the_schedule() -> None:
    base, per_epoch = 0.01, 13
    for step in (0, 1, 12, 13, 250, 499, 500, 501, 13 * 99, 13 * 100, 13 * 950 + 5):
        epoch = step // per_epoch
        rate = base * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * (epoch % 100) / 100)))
        if step < 500:  # the official form: what is left of the warm-up takes 90 % of its share away
            rate *= 1 - (1 - step / 500) * (1 - 0.1)
        assert scheduled_rate(step, base, per_epoch, TALLFORMER) == pytest.approx(rate, rel=1e-12)
    assert scheduled_rate(0, base, per_epoch, TALLFORMER) == pytest.approx(0.001)
    lowest = scheduled_rate(13 * 99, base, per_epoch, TALLFORMER.model_copy(update={"lowest_share": 0.5}))
    assert lowest == pytest.approx(0.005, rel=1e-3)
    half = ScheduleSettings(epochs=4, warmup_epochs=0, warmup_steps=4, warmup_share=0.5)
    plain = [learning_rate(step, 0.1, 3, 4, 0) for step in range(12)]
    found = [scheduled_rate(step, 0.1, 3, half) for step in range(12)]
    np.testing.assert_allclose(found[:4], np.multiply(plain[:4], [0.5, 0.625, 0.75, 0.875]))
    assert found[4:] == plain[4:]


DUALFORMER = json.loads((GOLDEN / "dualformer" / "lr_tiny.json").read_text())


@pytest.mark.parametrize("group", [0, 1])
def test_by_epoch_every_step_has_dualformers_rate(group: int) -> None:
    settings = ScheduleSettings(
        name="cosine_by_epoch", epochs=30, warmup_epochs=0, warmup_first_epochs=DUALFORMER["warmup_epochs"]
    )
    base, recorded = DUALFORMER["base_lrs"][group], np.array(DUALFORMER["lr_per_iteration"])[:, group]
    assert len(recorded) == settings.epochs * DUALFORMER["iters_per_epoch"]
    found = [scheduled_rate(step, base, DUALFORMER["iters_per_epoch"], settings) for step in range(len(recorded))]
    np.testing.assert_allclose(found, recorded, rtol=1e-12, atol=0)


def test_half_an_epoch_of_a_warm_up_ends_inside_an_epoch() -> None:
    settings = ScheduleSettings(name="cosine_by_epoch", epochs=30, warmup_epochs=0, warmup_first_epochs=2.5)
    for step in range(40):
        rate = 1e-3 * 0.5 * (1 + np.cos(np.pi * (step // 7) / 30))
        if step < 17.5:  # mmcv's form: what is left of the warm-up takes 90 % of its share away
            rate *= 1 - (1 - step / 17.5) * (1 - 0.1)
        assert scheduled_rate(step, 1e-3, 7, settings) == pytest.approx(rate, rel=1e-12), step
    plain = settings.model_copy(update={"warmup_first_epochs": 0.0})  # TAM's cosine
    expected = np.repeat(pytorchs(lambda optimizer: CosineAnnealingLR(optimizer, 30), 30), 7)
    np.testing.assert_allclose([scheduled_rate(step, 0.1, 7, plain) for step in range(210)], expected, atol=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restart_epochs": 3}, "restart_epochs: schedule.name=cosine does not use it"),
        ({"name": "multistep", "lowest_share": 0.1}, "lowest_share: schedule.name=multistep does not use it"),
        ({"name": "cosine_restarts"}, "needs the epochs between two restarts"),
        ({"warmup_steps": 3}, "warmup_steps is 3 and warmup_epochs is 5: expected one of them"),
        ({"warmup_share": 0.5, "warmup_epochs": 0}, "used only with warmup_steps"),
        ({"warmup_first_epochs": 2.5}, "warmup_first_epochs is 2.5 and warmup_epochs is 5: expected one of them"),
        ({"warmup_first_epochs": 2, "warmup_steps": 9}, "set the others to 0"),
        ({"warmup_first_epochs": 4, "warmup_epochs": 0, "epochs": 3}, "found 4, expected at most the 3 of epochs"),
        ({"name": "cosine_by_epoch", "milestones": [3]}, "milestones: schedule.name=cosine_by_epoch does not use"),
    ],
)
def test_settings_of_a_schedule_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleSettings(**settings)


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


def test_all_parameters_decay_where_that_is_asked_for() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    decaying, others = parameter_groups(model, 0.1, 0.4, decays_all=True)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.1)
    assert [len(group["params"]) for group in (decaying, others)] == [1, 3]
    assert decaying["rate_factor"] == others["rate_factor"] == 0.4
