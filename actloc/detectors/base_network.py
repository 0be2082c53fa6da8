"""What the networks of detectors have in common: losses to train on, segments to find."""

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from actloc.detectors.base import SGP_GROUPS, ConvolutionalConfig, PointConfig
from actloc.errors import TooLongError, UserError
from actloc.layers.dynamic_heads import DynamicClassificationHead, DynamicRegressionHead
from actloc.layers.heads import ClassificationHead, RegressionHead
from actloc.layers.positions import PositionTable
from actloc.layers.precision import at_least_float32, full_precision
from actloc.layers.pyramid import build_neck, level_masks
from actloc.layers.segment_classifier import SegmentClassifier
from actloc.layers.sgp import SGPBlock
from actloc.ops.criterion import Criterion
from actloc.ops.points import Points, chosen_or_inside, level_points
from actloc.ops.pointwise import PointCriterion, PointOutputs, select_points
from actloc.ops.segment_classes import ClassifiedOutputs, SegmentClassCriterion
from actloc.structures import Detections, Targets, one_action

_KEPT_PER_LEVEL = 2000


class Detector(nn.Module, ABC):
    """Finds actions in a padded batch of feature sequences.

    `forward` is its network, `criterion` the losses of the network's outputs, `select` the segments in them.
    """

    criterion: Criterion
    why_not_onnx: ClassVar[str] = "it has no method `tensors_of`, which names what its network computes"
    """What keeps a detector without `tensors_of` from it."""

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

    def tensors_of(self, outputs: Any) -> dict[str, Tensor]:
        """The tensors in the outputs that the network computed, by name: what an ONNX file of it gives."""
        raise UserError(
            f"The detector {type(self).__name__} is not written as ONNX: {self.why_not_onnx}.",
            "Expected a network that does the same for all values of the features.",
            "Use the run with torch, or train another: actionformer, bmn, dyfadet, tadtr without actionness, "
            "temporalmaxer and tridet are written.",
        )

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> Any:  # Any: the detector's own
        """The outputs that `tensors_of` made these tensors of; `mask` (B, T) is that of the features."""
        raise NotImplementedError(f"{type(self).__name__} has `tensors_of` and no `outputs_of`")

    @abstractmethod
    def padded_steps(self, longest: int) -> int:
        """The T to pad a batch to whose longest video has `longest` steps; training and evaluation may differ."""

    def expect_no_actions_of(self, classes: list[int]) -> None:
        """Told, before training from scratch, which class numbers no annotation of the dataset has."""

    def rate_factor(self, parameter: str) -> float:
        """By what the learning rate of the parameter of this name is multiplied."""
        return 1.0

    def losses(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
        """The criterion's losses; inputs as for `forward`, which may compute in bfloat16: the losses do not."""
        outputs = self.learning_outputs(features, mask, targets)
        with full_precision(features.device):
            losses: dict[str, Tensor] = self.criterion(outputs, targets)
            return losses

    def learning_outputs(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> Any:  # Any: as of `forward`
        """Outputs to learn `targets` from; a detector may leave out what its losses do not depend on."""
        return self(features, mask)

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

    def tensors_of(self, outputs: ClassifiedOutputs) -> dict[str, Tensor]:
        """The detector's, and the features that the classifier reads; the classes are found after the network."""
        return {**self.detector.tensors_of(outputs.found), "embedded": outputs.embedded}

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> ClassifiedOutputs:
        """The outputs of these tensors."""
        return ClassifiedOutputs(self.detector.outputs_of(tensors, mask), tensors["embedded"], self.classifier)

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
            classified.append(replace(found, labels=chances.argmax(dim=1), class_scores=chances))
        return classified


class PointDetector(Detector):
    """Heads on every level of a pyramid; each kind makes its own `backbone`, the heads and the `criterion`."""

    criterion: PointCriterion
    cls_head: ClassificationHead | DynamicClassificationHead
    reg_head: RegressionHead | DynamicRegressionHead

    def __init__(self, config: PointConfig, num_classes: int, max_steps: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.max_steps = max_steps

    def at_points(
        self, levels: list[Tensor], masks: list[Tensor], targets: list[Targets] | None = None
    ) -> PointOutputs:
        """What the heads make of levels (B, C, T_l), finest first; `masks` (B, 1, T_l) are true on real steps.

        With `targets`, offsets are computed only at the points that learn them.
        """
        if targets is None:
            return self.outputs(self.cls_head(levels, masks), self.reg_head(levels, masks), masks)
        assert isinstance(self.reg_head, RegressionHead), "dynamic heads know no points apart from their level"
        points, is_real = self._points(masks), torch.cat(masks, dim=2)[:, 0]
        with full_precision(is_real.device):
            learning = self.criterion.positive(points, is_real, targets)
        return self.outputs(self.cls_head(levels, masks), self.reg_head(levels, masks, learning), masks)

    def outputs(self, logits: Tensor, offsets: Tensor, masks: list[Tensor]) -> PointOutputs:
        """What heads gave at the points of all levels, (B, P, K) and (B, P, 2), with the points; masks as above."""
        lengths = [mask.shape[2] for mask in masks]
        return PointOutputs(self._points(masks), logits, offsets, torch.cat(masks, dim=2)[:, 0], lengths)

    def _points(self, masks: list[Tensor]) -> Points:
        config, lengths = self.config, [mask.shape[2] for mask in masks]
        return level_points(lengths, config.strides, config.regression_ranges, masks[0].device)

    def tensors_of(self, outputs: PointOutputs) -> dict[str, Tensor]:
        """What the heads gave."""
        if type(outputs) is not PointOutputs:  # it has more than this knows of
            return super().tensors_of(outputs)
        return {"logits": outputs.logits, "offsets": outputs.offsets}

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> PointOutputs:
        """The outputs of these tensors, with the points of all levels."""
        masks = [mask[:, None, ::stride] for stride in self.config.strides]
        return self.outputs(tensors["logits"], tensors["offsets"], masks)

    def select(self, outputs: PointOutputs) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression; best first within a level."""
        config = self.config
        kept = self.kept_per_level(outputs.level_lengths[0] * config.strides[0])
        return select_points(outputs, config.score_threshold, kept, config.shortest_steps)

    def kept_per_level(self, num_steps: int) -> int:
        """The most segments that a level may give for a video that is padded to `num_steps`."""
        return self.config.kept_per_level or _KEPT_PER_LEVEL * math.ceil(num_steps / self.max_steps)

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

    def least_padded_steps(self, longest: int) -> int:
        """The shortest T that gives the official numbers, where no layer mixes all steps.

        Convolutions and pooling see half a kernel of padded steps after the last real one, so every level keeps that
        many wherever the official padding has them: padding keeps the official end of every level.
        """
        stride = self.config.strides[-1]
        margin = max(self.config.embedding_kernel, self.config.head_kernel, self.config.scale_factor + 1) // 2
        return min((math.ceil(longest / stride) + margin) * stride, self.official_steps(longest))

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


class ConvolutionalDetector(PointDetector):
    """A point detector on TriDet's pyramid, which each kind builds in its own way with `build_levels`."""

    config: ConvolutionalConfig

    def build_levels(self, in_channels: int, *, downsampling: Literal["max", "average"], has_relu: bool) -> None:
        """The pyramid and the neck; `downsampling` and `has_relu` as in `SGPBlock`."""
        config = self.config

        def block(window: int, stride: int) -> SGPBlock:
            is_stem = stride == 1  # officially neither a window nor drop path, whatever the settings say
            return SGPBlock(
                config.dim,
                window=1 if is_stem else window,
                wide_window=config.wide_window(1 if is_stem else window),
                mlp_dim=config.mlp_dim,
                groups=SGP_GROUPS,
                stride=stride,
                downsampling=downsampling,
                drop_path=0.0 if is_stem else config.drop_path,
                conv_std=config.initial_conv_std,
                has_relu=has_relu,
            )

        self.positions = PositionTable(self.max_steps, config.dim) if config.position_embedding else None
        self.backbone = config.build_pyramid(in_channels, block, config.level_windows, config.num_stem_blocks)
        self.neck = build_neck(config.neck, config.dim, len(config.strides), config.scale_factor, config.neck_norm)

    def levels(self, features: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Levels (B, C, T_l) and masks (B, 1, T_l) for (B, C, T) features and their mask (B, T), finest first."""
        if self.training and self.config.input_noise:
            features = features + self.config.input_noise * torch.randn_like(features)
        num_steps = features.shape[2]  # the official length: longer than `max_steps` where positions are stretched
        positions = None if self.positions is None else self.positions([num_steps], num_steps)
        masks = level_masks(mask[:, None], len(self.config.strides), self.config.scale_factor)
        levels: list[Tensor] = self.neck(self.backbone(features, masks, positions), masks)
        return levels, masks

    @property
    def divisor(self) -> int:
        """The largest window, in feature steps; 1 is no window."""
        return max(
            stride * window for stride, window in zip(self.config.strides, self.config.level_windows, strict=True)
        )
