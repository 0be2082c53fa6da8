"""The network of TriDet."""

import math

from torch import Tensor

from actloc.detectors.base_network import ConvolutionalDetector
from actloc.detectors.tridet import Config
from actloc.ops.points import Points, assign_targets
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.ops.trident import TridentOutputs
from actloc.structures import Targets


class TriDet(ConvolutionalDetector):
    """Scores each step of each level, and finds the borders of its action among the steps before and after it."""

    config: Config

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__(config, num_classes, max_steps)
        self.build_levels(in_channels, downsampling=config.downsampling, has_relu=False)
        if config.head == "plain":
            self.cls_head, self.reg_head = config.build_heads(num_classes)
            self.criterion = config.build_criterion(self._assign)
        else:
            self.cls_head, self.reg_head = config.build_heads(num_classes, 2 * (config.num_bins + 1))
            self.start_head = config.build_class_head(num_classes, config.border_kernel)
            self.end_head = config.build_class_head(num_classes, config.border_kernel)
            self.criterion = config.build_criterion(self._assign, counts_pairs=True, iou_power=config.iou_power)

    def _assign(self, points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        radius = self.config.center_radius or math.inf
        return Assignment(*assign_targets(points, targets, self.num_classes, radius))

    def learning_outputs(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> PointOutputs:
        """Without the offsets of points that learn none."""
        outputs: PointOutputs = self(features, mask, targets)
        return outputs

    def forward(self, features: Tensor, mask: Tensor, targets: list[Targets] | None = None) -> PointOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps.

        With `targets`, offsets are those of their positive points only.
        """
        levels, masks = self.levels(features, mask)
        if self.config.head == "plain":
            return self.at_points(levels, masks, targets)
        # what starts and ends where is learned from the features, and does not change them
        detached = [level.detach() for level in levels]
        starts, ends = self.start_head(detached, masks), self.end_head(detached, masks)
        return TridentOutputs(**vars(self.at_points(levels, masks, targets)), start_logits=starts, end_logits=ends)

    def tensors_of(self, outputs: PointOutputs) -> dict[str, Tensor]:
        """What the heads gave, those of starts and ends too."""
        if not isinstance(outputs, TridentOutputs):
            return super().tensors_of(outputs)
        names = "logits", "offsets", "start_logits", "end_logits"
        return {name: getattr(outputs, name) for name in names}

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> PointOutputs:
        """The outputs of these tensors, with the points of all levels."""
        plain = super().outputs_of(tensors, mask)
        if "start_logits" not in tensors:
            return plain
        starts, ends = tensors["start_logits"], tensors["end_logits"]
        return TridentOutputs(**vars(plain), start_logits=starts, end_logits=ends)
