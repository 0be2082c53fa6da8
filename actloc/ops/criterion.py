"""What every detector's losses have in common: they are computed of outputs and targets, and may remember steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from actloc.structures import Targets

Draw = Callable[[int], Tensor]
"""Numbers (N,), at least 0 and below 1."""


class Criterion(nn.Module, ABC):
    """A detector's losses, and the numbers outside its weights that move from one optimizer step to the next.

    A step may be several batches, in several processes. It is the same however it is cut if the losses are divided only
    by numbers that move in `start_step`, by the weight of the whole step; `weight_follows_from_targets` promises this.
    Otherwise each call counts by itself.
    """

    weight_follows_from_targets = False
    """Whether `weight_of` can say a batch's weight before its outputs are there; without it `start_step` is not
    called."""

    @abstractmethod
    def forward(self, outputs: Any, targets: list[Targets]) -> dict[str, Tensor]:  # Any: the detector's own
        """Named float32 scalars whose sum training minimises."""

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """How much a batch of videos of these lengths in steps and with these actions counts in `start_step`."""
        return 0.0

    def start_step(self, weight: float) -> None:
        """Told the weight of all batches of an optimizer step, on all processes, before the first is used."""

    def training_state(self) -> dict[str, float]:
        """Numbers that the next training steps depend on."""
        return {}

    def load_training_state(self, state: dict[str, float]) -> None:
        """Goes on from what `training_state` gave."""
        assert not state, f"this criterion has no training state, and was given {sorted(state)}"


class DrawingCriterion(Criterion):
    """Losses that draw at random, by a seed and the number of the call.

    The draws are the same on every device, and training that goes on from `training_state` draws what it would have
    drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = torch.initial_seed() % 2**31
        self.calls = 0

    def training_state(self) -> dict[str, float]:
        """The seed, and the number of calls in training so far."""
        return {"seed": float(self.seed), "calls": float(self.calls)}

    def load_training_state(self, state: dict[str, float]) -> None:
        """Goes on from what `training_state` gave."""
        self.seed, self.calls = int(state["seed"]), int(state["calls"])

    def generator(self, purpose: int) -> torch.Generator:
        """For the draws of the next call; those of another `purpose` are others."""
        calls = self.calls if self.training else 0
        return torch.Generator().manual_seed((self.seed * 2**24 + calls * 2 + purpose) % 2**63)

    def forward(self, outputs: Any, targets: list[Targets]) -> dict[str, Tensor]:  # Any: the detector's own
        """Named float32 scalars whose sum training minimises."""
        generator = self.generator(1)

        def draw(count: int) -> Tensor:
            return torch.rand(count, generator=generator).to(outputs.boundaries.device)

        losses = self.with_draws(outputs, targets, draw)
        self.calls += self.training
        return losses

    @abstractmethod
    def with_draws(self, outputs: Any, targets: list[Targets], draw: Draw) -> dict[str, Tensor]:
        """The losses with the numbers that `draw` gives."""
