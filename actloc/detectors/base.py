"""What detectors have in common: settings that build one, a network, losses to train on, segments to find."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from actloc.errors import UserError
from actloc.settings.sections import Part, Shapes

if TYPE_CHECKING:
    from torch import nn

    from actloc.detectors.base_network import Detector
    from actloc.layers.heads import ClassificationHead, RegressionHead
    from actloc.layers.pyramid import FeaturePyramid
    from actloc.ops.pointwise import Assign, PointCriterion

SGP_GROUPS = 16  # of channels, in the official group norm of TriDet's blocks
SIX_RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))  # official for THUMOS14 and ActivityNet


class DetectorConfig(Part, ABC):
    """The settings of a detector; `name` is its file."""

    shapes = "detections"

    scores_classes: ClassVar[bool] = False
    """Whether its detections have `class_scores`, which `fusion.scores=own` uses."""
    ignores_unlabelled: ClassVar[bool] = False
    """Whether its losses ignore the `unlabelled` time of targets; others are not trained on partly annotated videos."""
    class_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that have no effect on a dataset of one class."""

    @abstractmethod
    def build(self, in_channels: int, num_classes: int, max_steps: int) -> Detector:
        """A new detector for features of `in_channels`, trained on at most `max_steps` steps of a video."""

    @classmethod
    def small(cls) -> Self:
        """The smallest settings that still use every branch; the contract tests build these."""
        return cls()


class ClasslessConfig(DetectorConfig):
    """Settings of a detector that finds actions without their classes, and of the classifier of its segments.

    The classifier is there where the dataset has more than one class; `dataset.class_agnostic=true` leaves one.
    """

    scores_classes: ClassVar[bool] = True
    class_settings: ClassVar[tuple[str, ...]] = (
        "classifier_dim",
        "classifier_bins",
        "classifier_dropout",
        "classifier_weight",
    )

    classifier_dim: PositiveInt = 128
    """Channels of the classifier that gives segments their classes, from the features inside them."""
    classifier_bins: PositiveInt = 8
    """Equal parts that it sees of a segment."""
    classifier_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of its hidden numbers that a training step drops."""
    classifier_weight: PositiveFloat = 1.0
    """Weight of its loss."""

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> Detector:
        """A new detector, with a classifier of segments if there are several classes."""
        from actloc.detectors.base_network import ClassifyingDetector
        from actloc.layers.segment_classifier import SegmentClassifier

        detector = self.build_classless(in_channels, max_steps)
        if num_classes == 1:
            return detector
        classifier = SegmentClassifier(
            in_channels, self.classifier_dim, self.classifier_bins, num_classes, self.classifier_dropout
        )
        return ClassifyingDetector(detector, classifier, self.classifier_weight)

    @abstractmethod
    def build_classless(self, in_channels: int, max_steps: int) -> Detector:
        """A new detector to which all classes are one, for features of `in_channels`."""


class PointConfig(DetectorConfig):
    """Settings that detectors share whose points, the steps of a pyramid, each predict a segment."""

    ignores_unlabelled: ClassVar[bool] = True

    projection: tuple[tuple[PositiveInt, PositiveInt], ...] = ()
    """For features of several kinds side by side: for each its channels and the channels it is projected to."""
    dim: PositiveInt = 512
    """Channels of every level of the pyramid."""
    num_embedding_convs: PositiveInt = 2
    """Convolutions before the pyramid."""
    embedding_kernel: PositiveInt = 3
    """Steps under each of these convolutions; odd."""
    embedding_norm: bool = True
    """Whether a norm follows each of them; without it they have biases."""
    num_branch_blocks: int = Field(default=5, ge=0)
    """Blocks that shorten the sequence; each adds a level to the one at full length."""
    scale_factor: int = Field(default=2, ge=2, multiple_of=2)
    """How many steps of a level become one of the next."""
    regression_ranges: tuple[tuple[NonNegativeFloat, PositiveFloat], ...] = SIX_RANGES
    """For each level that the heads see: the nearest and farthest action border, in feature steps, that it learns."""
    head_dim: PositiveInt | None = None
    """Channels inside the heads; null: as many as `dim`."""
    head_layers: PositiveInt = 3
    """Convolutions of each head, the last one included."""
    head_kernel: PositiveInt = 3
    """Steps under each convolution of the heads; odd."""
    head_norm: bool = True
    """Whether a norm follows each convolution of the heads but the last; without it they have biases."""

    center_radius: PositiveFloat | None = 1.5
    """A point learns an action at most this many strides from its centre; null: anywhere within the action."""
    prior_probability: float = Field(default=0.01, gt=0, lt=1)
    """Score of every class at the start of training."""
    empty_class_probability: float = Field(default=1e-6, gt=0, lt=1)
    """The same for classes that the dataset names but no annotation has."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """How much of each class target is spread over all classes and the background."""
    loss_weight: float = 1.0
    """Weight of the regression loss; 0 or less makes it as large as the classification loss at every step."""
    initial_normaliser: PositiveFloat = 100.0
    """First guess of the number of positive points in a batch, by which the losses are divided."""

    max_buffer_factor: Annotated[float, Field(ge=1), Shapes("results")] = 6.0
    """The longest video that can be evaluated, as a multiple of the longest that is trained on."""
    score_threshold: Annotated[float, Field(ge=0, lt=1), Shapes("results")] = 0.001
    """Only scores above this become segments."""
    kept_per_level: Annotated[PositiveInt | None, Shapes("results")] = None
    """The most segments that a level of the pyramid may give for a video; null: 2000 for each `features.max_steps`
    steps of it."""
    shortest_steps: Annotated[NonNegativeFloat, Shapes("results")] = 0.05
    """Only segments longer than this, in feature steps, are kept."""

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        if len(self.regression_ranges) != len(self.strides):
            raise ValueError(
                f"regression_ranges has {len(self.regression_ranges)} pairs for {len(self.strides)} levels"
            )
        if any(nearest > farthest for nearest, farthest in self.regression_ranges):
            raise ValueError("regression_ranges: the nearest border of a level is beyond its farthest")
        if self.projection and sum(projected for _, projected in self.projection) != self.dim:
            raise ValueError(f"projection: the channels after it must add up to dim, {self.dim}")
        if self.embedding_kernel % 2 == 0 or self.head_kernel % 2 == 0:
            raise ValueError("embedding_kernel and head_kernel must be odd, so that they have a centre")
        return self

    @property
    def strides(self) -> list[int]:
        """Feature steps from one point to the next, for each level that the heads see."""
        return [self.scale_factor**level for level in range(self.num_branch_blocks + 1)]

    @property
    def reach_steps(self) -> int | None:
        """How many feature steps to each side of a point its outputs depend on; None: on all of the video.

        With a reach, detection sees longer videos in windows; without one it sees any video whole.
        """
        return None

    def build_pyramid(
        self,
        in_channels: int,
        make_block: Callable[[int, int], nn.Module],
        windows: list[int],
        num_stem_blocks: int = 0,
    ) -> FeaturePyramid:
        """The embedding and the levels after it; `make_block` and `windows` as in `FeaturePyramid`."""
        from actloc.layers.pyramid import FeaturePyramid

        expected = sum(channels for channels, _ in self.projection)
        if self.projection and expected != in_channels:
            raise UserError(
                f"The features have {in_channels} channels; the parts of detector.projection have {expected} in all.",
                "Expected one part for each kind of feature, in the order in which they are side by side.",
                "Correct detector.projection, or leave it out to take all channels together.",
            )
        return FeaturePyramid(
            in_channels,
            self.dim,
            make_block,
            windows=windows,
            projection=self.projection,
            num_embedding_convs=self.num_embedding_convs,
            embedding_kernel=self.embedding_kernel,
            embedding_norm=self.embedding_norm,
            num_stem_blocks=num_stem_blocks,
            scale_factor=self.scale_factor,
        )

    def build_heads(self, num_classes: int, num_outputs: int = 2) -> tuple[ClassificationHead, RegressionHead]:
        """The heads that all levels share; `num_outputs` of the second, two distances unless they are made of more."""
        from actloc.layers.heads import RegressionHead

        regression = RegressionHead(
            self.dim,
            len(self.strides),
            hidden_dim=self.head_dim,
            num_layers=self.head_layers,
            kernel=self.head_kernel,
            has_norm=self.head_norm,
            num_outputs=num_outputs,
        )
        return self.build_class_head(num_classes, self.head_kernel), regression

    def build_class_head(self, num_classes: int, kernel: int) -> ClassificationHead:
        """A head with a logit for each class, and convolutions of this kernel."""
        from actloc.layers.heads import ClassificationHead

        return ClassificationHead(
            self.dim,
            num_classes,
            hidden_dim=self.head_dim,
            num_layers=self.head_layers,
            kernel=kernel,
            has_norm=self.head_norm,
            prior_probability=self.prior_probability,
        )

    def build_criterion(
        self,
        assign: Assign,
        *,
        weight_follows_from_targets: bool = True,
        counts_pairs: bool = False,
        iou_power: float = 0.0,
    ) -> PointCriterion:
        """The losses, with `assign` to say what points learn."""
        from actloc.ops.pointwise import PointCriterion

        return PointCriterion(
            assign,
            self.strides,
            self.regression_ranges,
            label_smoothing=self.label_smoothing,
            loss_weight=self.loss_weight,
            initial_normaliser=self.initial_normaliser,
            weight_follows_from_targets=weight_follows_from_targets,
            counts_pairs=counts_pairs,
            iou_power=iou_power,
        )


class ConvolutionalConfig(PointConfig):
    """Settings that detectors share whose pyramid is TriDet's: `SGPBlock` of `layers/sgp.py`.

    Its blocks use the mean and group norms of all steps, padded ones too, so every video is padded as officially.
    """

    windows: PositiveInt | tuple[PositiveInt, ...] = 1
    """Steps under the narrow convolution of a block, for all levels or one number for each; odd. Blocks at full length
    use 1, whatever the first number is."""
    window_factor: PositiveFloat = 5.0
    """How many times as many steps, plus those it has more, the wide convolution of a block sees: of a window w it is
    (w + 1) times this, rounded, and one more if that is even."""
    mlp_dim: PositiveInt = 768
    """Channels inside the MLP of a block."""
    num_stem_blocks: int = Field(default=2, ge=0)
    """Blocks at full length."""
    initial_conv_std: NonNegativeFloat = 0.0
    """Standard deviation of the first weights of a block's convolutions. At 0, as published for THUMOS14 and
    EPIC-Kitchens, they never learn: a block is then its norms and its MLP."""
    position_embedding: bool = False
    """Whether sinusoid positions are added to the embedding."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance that a residual branch of a shortening block is left out; at 0 the branches lose their learnable scales
    too."""
    neck: Literal["identity", "fpn"] = "identity"
    """From pyramid to heads: only a norm for each level, or a top-down path that adds coarse levels to fine ones."""
    neck_norm: bool = True
    """Whether the neck has norms; without them the convolutions of the neck fpn have biases."""
    input_noise: NonNegativeFloat = 0.0
    """Standard deviation of the noise that is added to the features in training, padding included."""

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        num_levels = self.num_branch_blocks + 1
        if isinstance(self.windows, tuple) and len(self.windows) != num_levels:
            raise ValueError(f"windows has {len(self.windows)} numbers: one, or one for each of {num_levels} levels")
        even = [window for window in self.level_windows if window % 2 == 0]
        if even:
            raise ValueError(f"windows: found {even[0]}, expected odd numbers, so that they have a centre")
        if self.dim % SGP_GROUPS:
            raise ValueError(f"dim is {self.dim}: the group norms of the blocks need a multiple of {SGP_GROUPS}")
        return self

    @property
    def level_windows(self) -> list[int]:
        """The window of each level of the pyramid."""
        if isinstance(self.windows, tuple):
            return list(self.windows)
        return [self.windows] * (self.num_branch_blocks + 1)

    def wide_window(self, window: int) -> int:
        """Steps under the wide convolution of a block whose narrow one sees `window`: odd."""
        return round((window + 1) * self.window_factor) // 2 * 2 + 1

    @classmethod
    def small(cls) -> Self:
        """Three levels of 16 channels with windows, positions and convolutions that learn."""
        return cls(
            dim=16,
            windows=(1, 5, 3),
            window_factor=1.3,
            mlp_dim=24,
            num_embedding_convs=1,
            num_stem_blocks=1,
            num_branch_blocks=2,
            initial_conv_std=0.2,
            position_embedding=True,
            regression_ranges=((0, 4), (4, 8), (8, 10000)),
            head_dim=12,
        )


_OF_NETWORKS = ("Detector", "only_length", "ClassifyingDetector", "PointDetector", "ConvolutionalDetector")


def __getattr__(name: str) -> Any:  # Any: whatever the module has
    # a part in one file imports its network's base from here too; torch is imported only then
    if name in _OF_NETWORKS:
        return getattr(importlib.import_module("actloc.detectors.base_network"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
