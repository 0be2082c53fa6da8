"""What every detector's losses have in common: they are computed of outputs and targets, and may remember steps."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from actloc.structures import Targets


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
