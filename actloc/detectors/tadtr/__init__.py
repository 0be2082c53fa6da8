"""TadTR: a few queries look for one action each, with deformable attention; nothing is suppressed afterwards.

Liu et al., 2022, "End-to-End Temporal Action Detection With Transformer" (arXiv 2106.10271).
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from actloc.detectors.base import DetectorConfig
from actloc.settings.sections import Shapes

if TYPE_CHECKING:
    from actloc.detectors.tadtr.network import TadTR

NORM_GROUPS = 32  # of channels, in the norm after the projection
ROI_BINS = 16  # parts of a segment that the actionness head sees


class Config(DetectorConfig):
    """Settings of TadTR; the defaults are those of THUMOS14 with I3D features, in windows of 128 steps.

    It works on windows of `features.max_steps` steps, in training and evaluation (`features.window_steps`).
    """

    ignores_unlabelled: ClassVar[bool] = True

    dim: PositiveInt = 256
    """Channels of steps and queries; a multiple of 32."""
    num_heads: PositiveInt = 8
    """Attention heads, which share the channels evenly."""
    encoder_layers: PositiveInt = 4
    """Layers in which steps attend to other steps."""
    decoder_layers: PositiveInt = 4
    """Layers in which queries look for actions; each learns."""
    encoder_points: PositiveInt = 4
    """Places that each head of a step looks at."""
    decoder_points: PositiveInt = 4
    """Places that each head of a query looks at."""
    hidden_dim: PositiveInt = 1024
    """Channels inside the two linear layers of each layer."""
    activation: Literal["relu", "gelu"] = "relu"
    """What is between these two."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped in training."""
    num_queries: PositiveInt = 40
    """Queries, each of which can find one action: take more than a window has actions; further ones are not learned."""
    position_embedding: bool = True
    """Whether steps know where they are."""
    refinement: bool = True
    """Whether each layer moves the segments of the one before, with heads of its own."""
    query_attention: bool = True
    """Whether queries attend to each other."""
    actionness: bool = True
    """Whether a head scores segments, by the features inside them, for how well they fit an action."""
    padding_counts: bool = True
    """Whether what pads a shorter window counts as a part of it, as officially; false: it is masked, except in the
    norm over all steps."""

    class_cost: NonNegativeFloat = 6.0
    """How much the score of its class weighs in which query learns an action."""
    segment_cost: NonNegativeFloat = 5.0
    """How much the distance of centre and width, as parts of the window, weighs in it."""
    iou_cost: NonNegativeFloat = 2.0
    """How much the temporal IoU weighs in it."""
    class_weight: PositiveFloat = 2.0
    """Weight of the loss of classes, of every layer."""
    segment_weight: PositiveFloat = 5.0
    """Weight of the loss of centres and widths, of every layer."""
    iou_weight: PositiveFloat = 2.0
    """Weight of the loss of temporal IoU, of every layer."""
    actionness_weight: PositiveFloat = 4.0
    """Weight of the loss of actionness."""
    actionness_actions: Literal["batch", "video"] = "batch"
    """Actions whose temporal IoU it learns: of all windows of the batch, as officially, or of the query's own one."""
    sampling_rate_factor: PositiveFloat = 0.1
    """Learning rate of the layers that choose where to look, as a multiple of the optimizer's."""

    kept_per_window: Annotated[PositiveInt, Shapes("results")] = 100
    """The most segments that a window may give; a query may give one for every class."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % NORM_GROUPS or self.dim % self.num_heads:
            raise ValueError(f"dim: found {self.dim}, expected a multiple of {NORM_GROUPS} and of num_heads")
        if not self.actionness and self.actionness_actions != "batch":
            raise ValueError("actionness_actions: has no effect because actionness is false")
        return self

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> TadTR:
        """A new TadTR for windows of `max_steps` steps, initialised as the official one."""
        from actloc.detectors.tadtr.network import TadTR

        return TadTR(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Two layers of 32 channels, eight queries; without dropout, whose draws differ from pass to pass."""
        return cls(
            dropout=0.0,
            dim=32,
            num_heads=4,
            encoder_layers=2,
            decoder_layers=2,
            encoder_points=2,
            decoder_points=2,
            hidden_dim=32,
            num_queries=8,
        )
