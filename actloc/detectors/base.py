"""What every detector has in common: settings that build it, losses to train on, segments to find."""

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn

from actloc.settings.sections import Part
from actloc.structures import Detections, Targets


class Detector(nn.Module, ABC):
    """Finds actions in a padded batch of feature sequences."""

    @abstractmethod
    def losses(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
        """Named scalars whose sum training minimises, from (B, C, T) features; `mask` (B, T) is true on real steps.

        They are float32, also where the network computes in bfloat16 under autocast.
        """

    @abstractmethod
    def detect(self, features: Tensor, mask: Tensor) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression; inputs as for `losses`."""

    @abstractmethod
    def padded_steps(self, longest: int) -> int:
        """The T to pad a batch to whose longest video has `longest` steps; training and evaluation may differ."""

    def expect_no_actions_of(self, classes: list[int]) -> None:
        """Told, before training from scratch, which class numbers no annotation of the dataset has."""

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """How much a batch of videos of these lengths in steps and with these actions counts in `start_step`."""
        return 0.0

    def start_step(self, weight: float) -> None:
        """Told the weight of all batches of an optimizer step, on all processes, before the first is used.

        What depends on the step as a whole moves here; without it, every call of `losses` counts as a step.
        """

    def training_state(self) -> dict[str, float]:
        """Numbers outside the state dict that the next training steps depend on."""
        return {}

    def load_training_state(self, state: dict[str, float]) -> None:
        """Go on from what `training_state` gave."""
        assert not state, f"this detector has no training state, and was given {sorted(state)}"


class DetectorConfig(Part, ABC):
    """The settings of a detector; `name` is its file."""

    shapes = "detections"

    @abstractmethod
    def build(self, in_channels: int, num_classes: int, max_steps: int) -> Detector:
        """A new detector for features of `in_channels`, trained on at most `max_steps` steps of a video."""

    @classmethod
    @abstractmethod
    def small(cls) -> Self:
        """The smallest settings that still use every branch; the contract tests build these."""
