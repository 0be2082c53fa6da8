"""What detectors have in common: settings that build one, a network, losses to train on, segments to find."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from actloc.errors import TooLongError, UserError
from actloc.layers.heads import ClassificationHead, RegressionHead, apply_heads
from actloc.layers.precision import at_least_float32, full_precision
from actloc.layers.pyramid import FeaturePyramid
from actloc.layers.segment_classifier import SegmentClassifier
from actloc.ops.criterion import Criterion
from actloc.ops.points import chosen_or_inside, level_points
from actloc.ops.pointwise import Assign, PointCriterion, PointOutputs, select_points
from actloc.ops.segment_classes import ClassifiedOutputs, SegmentClassCriterion
from actloc.settings.sections import Part, Shapes
from actloc.structures import Detections, Targets, one_action

SIX_RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))  # official for THUMOS14 and ActivityNet


class Detector(nn.Module, ABC):
    """Finds actions in a padded batch of feature sequences.

    `forward` is its network, `criterion` the losses of the network's outputs, `select` the segments in them.
    """

    criterion: Criterion

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor) -> Any:  # Any: only `criterion` and `select` look into it
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps."""

    @abstractmethod
    def select(self, outputs: Any) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression."""

    def segment_score(self, outputs: Any, segment: Tensor, label: int) -> Tensor:
        """How much the outputs of one video speak for an action of class `label` at `segment` (2,), in feature steps.

        A scalar with a gradient, for `explain`: the sum over the places that would learn this action.
        """
        raise UserError(
            f"The detector {type(self).__name__} does not say how its outputs speak for one segment.",
            "Expected a detector with the method `segment_score`.",
            "Add it to the class of the detector, or explain a run of another one: actloc ls detectors",
        )

    @abstractmethod
    def padded_steps(self, longest: int) -> int:
        """The T to pad a batch to whose longest video has `longest` steps; training and evaluation may differ."""

    def expect_no_actions_of(self, classes: list[int]) -> None:
        """Told, before training from scratch, which class numbers no annotation of the dataset has."""

    def losses(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
        """The criterion's losses; inputs as for `forward`, which may compute in bfloat16: the losses do not."""
        outputs = self(features, mask)
        with full_precision(features.device):
            losses: dict[str, Tensor] = self.criterion(outputs, targets)
            return losses

    @torch.no_grad()
    def detect(self, features: Tensor, mask: Tensor) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression; inputs as for `forward`."""
        return self.select(self(features, mask))


def only_length(max_steps: int, longest: int) -> int:
    """`max_steps`: the `padded_steps` of a detector that knows no other length.

    Raises TooLongError for longer videos.
    """
    if longest > max_steps:
        raise TooLongError(
            f"A video has {longest} feature steps.",
            f"Expected at most {max_steps}, the only length that the detector knows, in training and evaluation.",
            f"Set features.window_steps={max_steps} to detect in windows, which needs no new training; or train again "
            f"with features.resize_to={max_steps} or a larger features.max_steps.",
        )
    return max_steps


class DetectorConfig(Part, ABC):
    """The settings of a detector; `name` is its file."""

    shapes = "detections"

    scores_classes: ClassVar[bool] = False
    """Whether its detections have `class_scores`, which `fusion.scores=own` uses."""
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


class ClassifyingDetector(Detector):
    """A detector that finds actions without classes, and a classifier of the segments that it finds."""

    criterion: SegmentClassCriterion

    def __init__(self, detector: Detector, classifier: SegmentClassifier, weight: float) -> None:
        super().__init__()
        self.detector = detector
        self.classifier = classifier
        self.criterion = SegmentClassCriterion(detector.criterion, weight)

    def padded_steps(self, longest: int) -> int:
        """The detector's."""
        return self.detector.padded_steps(longest)

    def forward(self, features: Tensor, mask: Tensor) -> ClassifiedOutputs:
        """The detector's outputs for (B, C, T) features, and the features that the classifier reads."""
        return ClassifiedOutputs(self.detector(features, mask), self.classifier.embed(features), self.classifier)

    def segment_score(self, outputs: ClassifiedOutputs, segment: Tensor, label: int) -> Tensor:
        """The classifier's logit of the segment."""
        return outputs.class_logits(0, segment[None])[0, label]

    @torch.no_grad()
    def select(self, outputs: ClassifiedOutputs) -> list[Detections]:
        """The detector's segments and scores, each with its best class and, as `class_scores` (N, K), the chance of
        every class."""
        classified = []
        for video, found in enumerate(self.detector.select(outputs.found)):
            chances = outputs.class_logits(video, found.segments).softmax(dim=1)
            classified.append(Detections(found.segments, found.scores, chances.argmax(dim=1), chances))
        return classified


class PointConfig(DetectorConfig):
    """Settings that detectors share whose points, the steps of a pyramid, each predict a segment."""

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
    kept_per_level: Annotated[PositiveInt, Shapes("results")] = 2000
    """The most segments that a level of the pyramid may give for a video."""
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

    def build_pyramid(
        self,
        in_channels: int,
        make_block: Callable[[int, int], nn.Module],
        windows: list[int],
        num_stem_blocks: int = 0,
    ) -> FeaturePyramid:
        """The embedding and the levels after it; `make_block` and `windows` as in `FeaturePyramid`."""
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

    def build_heads(self, num_classes: int) -> tuple[ClassificationHead, RegressionHead]:
        """The heads that all levels share."""
        classification = ClassificationHead(
            self.dim,
            num_classes,
            hidden_dim=self.head_dim,
            num_layers=self.head_layers,
            kernel=self.head_kernel,
            has_norm=self.head_norm,
            prior_probability=self.prior_probability,
        )
        regression = RegressionHead(
            self.dim,
            len(self.strides),
            hidden_dim=self.head_dim,
            num_layers=self.head_layers,
            kernel=self.head_kernel,
            has_norm=self.head_norm,
        )
        return classification, regression

    def build_criterion(self, assign: Assign, *, weight_follows_from_targets: bool = True) -> PointCriterion:
        """The losses, with `assign` to say what points learn."""
        return PointCriterion(
            assign,
            self.strides,
            self.regression_ranges,
            label_smoothing=self.label_smoothing,
            loss_weight=self.loss_weight,
            initial_normaliser=self.initial_normaliser,
            weight_follows_from_targets=weight_follows_from_targets,
        )


class PointDetector(Detector):
    """Heads on every level of a pyramid; each kind makes its own `backbone`, the heads and the `criterion`."""

    criterion: PointCriterion
    cls_head: ClassificationHead
    reg_head: RegressionHead

    def __init__(self, config: PointConfig, num_classes: int, max_steps: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.max_steps = max_steps

    def at_points(self, levels: list[Tensor], masks: list[Tensor]) -> PointOutputs:
        """What the heads make of levels (B, C, T_l), finest first; `masks` (B, 1, T_l) are true on real steps."""
        logits, offsets = apply_heads(self.cls_head, self.reg_head, levels, masks)
        lengths = [level.shape[2] for level in levels]
        points = level_points(lengths, self.config.strides, self.config.regression_ranges, logits.device)
        return PointOutputs(points, logits, offsets, torch.cat(masks, dim=2)[:, 0], lengths)

    def select(self, outputs: PointOutputs) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression; best first within a level."""
        config = self.config
        return select_points(outputs, config.score_threshold, config.kept_per_level, config.shortest_steps)

    def segment_score(self, outputs: PointOutputs, segment: Tensor, label: int) -> Tensor:
        """The class's logits of the points that would learn the action, or of those inside it, added up."""
        points, is_real = outputs.points, outputs.mask[0]
        assigned = self.criterion.assign(points, [one_action(segment, label)], None)
        positive = chosen_or_inside(assigned.classes[0, :, label] > 0, points.steps, is_real, segment)
        return at_least_float32(outputs.logits[0, positive, label]).sum()

    def expect_no_actions_of(self, classes: list[int]) -> None:
        """Start these classes near zero: focal loss would take long to learn that they never come."""
        self.cls_head.start_at(self.config.empty_class_probability, classes)

    def padded_steps(self, longest: int) -> int:
        """The official length: for a network that mixes all steps of a level, padding is part of the numbers."""
        return self.official_steps(longest)

    def official_steps(self, length: int) -> int:
        """What the official code pads a video of `length` steps to; raises TooLongError for longer ones than it takes.

        That is `max_steps`, or beyond them the next multiple of `divisor`; always whole steps of the coarsest level.
        """
        longest = self.max_steps if self.training else int(self.max_steps * self.config.max_buffer_factor)
        if length > longest:
            factor = math.ceil(length / self.max_steps)
            raise TooLongError(
                f"A video has {length} feature steps.",
                f"Expected at most {longest} in {'training' if self.training else 'evaluation'}.",
                "Raise features.max_steps."
                if self.training
                else f"Set detector.max_buffer_factor={factor}, which needs no new training.",
            )
        stride = self.config.strides[-1]
        unit = stride if length <= self.max_steps else math.lcm(stride, self.divisor)
        return math.ceil(max(length, self.max_steps) / unit) * unit

    @property
    def divisor(self) -> int:
        """Official lengths beyond `max_steps` are multiples of this: of the coarsest stride, unless overridden."""
        return self.config.strides[-1]
