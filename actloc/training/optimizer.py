"""Which weights decay, and learning-rate schedules, as in the official code of the detectors and recognisers."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

from actloc.settings.sections import ScheduleSettings
from actloc.structures import Factors

FINAL_RATE = 1e-8  # final rate of ActionFormer's cosine after a warm-up
LOWEST_SHARE = 0.01  # of the full rate, in TALLFormer's cosine with restarts
WARMUP_SHARE = 0.1  # of the rate, in the first step of TALLFormer's and DualFormer's warm-up
_DECAYING = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class ParameterGroup(TypedDict):
    """Parameters that share their weight decay and their learning rate, as torch optimizers take them."""

    params: list[nn.Parameter]
    weight_decay: float
    rate_factor: float


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    rate_factor: float = 1.0,
    *,
    decays_all: bool = False,
    rates: Mapping[str, float] | None = None,
) -> list[ParameterGroup]:
    """The trainable parameters, sorted by name: weights of convolutions and linear layers first, then the others.

    The others (biases, norms, scales, embeddings) do not decay, unless `decays_all`. `rate_factor` multiplies the
    learning rate of all; `rates` multiply it further for the parameters that they name, which have groups of their own
    after the others.
    """
    rates = rates or {}
    trainable = {name: parameter for name, parameter in sorted(model.named_parameters()) if parameter.requires_grad}
    decaying = {
        f"{name}.weight".removeprefix(".") for name, module in model.named_modules() if isinstance(module, _DECAYING)
    }
    groups: list[ParameterGroup] = []
    for rate in (1.0, *sorted(set(rates.values()) - {1.0})):
        names = [name for name in trainable if rates.get(name, 1.0) == rate]
        split = [name for name in names if name in decaying], [name for name in names if name not in decaying]
        groups += [
            {"params": [trainable[name] for name in part], "weight_decay": decay, "rate_factor": rate_factor * rate}
            for part, decay in zip(split, (weight_decay, weight_decay if decays_all else 0.0), strict=True)
        ]
    return groups


def factored_groups(
    model: nn.Module, weight_decay: float, rate_factor: float, factors: Mapping[str, Factors]
) -> list[ParameterGroup]:
    """The trainable parameters by their factors, those of `factors` by name; each group is sorted by name.

    `weight_decay` and `rate_factor` are multiplied by the factors.
    """
    groups: dict[Factors, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            groups[factors[name]].append(parameter)
    return [
        {"params": params, "weight_decay": weight_decay * one.decay, "rate_factor": rate_factor * one.rate}
        for one, params in sorted(groups.items(), key=lambda group: group[0])
    ]


def in_order_of(parameter: nn.Parameter, tensor: Tensor) -> Tensor:
    """`tensor` in the memory order of `parameter`, if it has its shape.

    Fused optimizers go through weights, gradients and state in memory, and files have no channels-last order.
    """
    if tensor.shape != parameter.shape:  # the number of steps
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def scheduled_rate(step: int, base: float, steps_per_epoch: int, settings: ScheduleSettings) -> float:
    """The rate of step `step` (from 0) by these settings."""
    start = (step, base, steps_per_epoch)
    if settings.name == "multistep":
        rate = multistep_rate(*start, settings.milestones, settings.gamma, settings.warmup_epochs)
    elif settings.name == "cosine_by_epoch":
        rate = restarting_rate(*start, settings.epochs, 0.0, settings.warmup_epochs)
    elif settings.name == "cosine_restarts":
        lowest = LOWEST_SHARE if settings.lowest_share is None else settings.lowest_share
        rate = restarting_rate(*start, settings.restart_epochs or settings.epochs, lowest, settings.warmup_epochs)
    else:
        final = None if settings.lowest_share is None else base * settings.lowest_share
        rate = learning_rate(*start, settings.epochs, settings.warmup_epochs, final)
    warmup_steps = settings.warmup_steps or settings.warmup_first_epochs * steps_per_epoch
    if step < warmup_steps:
        share = WARMUP_SHARE if settings.warmup_share is None else settings.warmup_share
        rate *= share + (1 - share) * step / warmup_steps
    return rate


def learning_rate(
    step: int, base: float, steps_per_epoch: int, epochs: int, warmup_epochs: int, final: float | None = None
) -> float:
    """The rate of step `step` (from 0): a linear warm-up from 0 to `base`, then half a cosine down to `final`.

    The first step of a warm-up has rate 0 and the last has `base`; a warm-up of one step has rate 0.
    Without `final` the cosine ends at 1e-8, or at 0 if there is no warm-up. After the last epoch the rate stays
    constant.
    """
    warmup_steps = warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return _warm_up(step, base, warmup_steps)
    progress = min((step - warmup_steps) / (epochs * steps_per_epoch), 1.0)
    if final is None:
        final = FINAL_RATE if warmup_epochs else 0.0  # the official code has a separate schedule for each
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * progress))


def multistep_rate(
    step: int, base: float, steps_per_epoch: int, milestones: Sequence[int], gamma: float, warmup_epochs: int
) -> float:
    """Like `learning_rate`, but after the warm-up it is `base`, multiplied by `gamma` at each of `milestones`.

    Milestones are epochs after the warm-up; a milestone listed twice counts twice.
    """
    warmup_steps = warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return _warm_up(step, base, warmup_steps)
    passed = sum(step - warmup_steps >= milestone * steps_per_epoch for milestone in milestones)
    return float(base * gamma**passed)


def restarting_rate(
    step: int, base: float, steps_per_epoch: int, restart_epochs: int, lowest_share: float, warmup_epochs: int
) -> float:
    """Like `learning_rate`, but after the warm-up half a cosine from `base` towards its `lowest_share` begins every
    `restart_epochs` epochs; within an epoch the rate is constant."""
    warmup_steps = warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return _warm_up(step, base, warmup_steps)
    progress = (step - warmup_steps) // steps_per_epoch % restart_epochs / restart_epochs
    lowest = base * lowest_share
    return lowest + 0.5 * (base - lowest) * (1 + math.cos(math.pi * progress))


def _warm_up(step: int, base: float, warmup_steps: int) -> float:
    return base * step / max(warmup_steps - 1, 1)
