"""The network of DyFADet."""

import math

from torch import Tensor, nn

from actloc.detectors.base_network import ConvolutionalDetector
from actloc.detectors.dyfadet import Config
from actloc.layers.dynamic_heads import DynamicClassificationHead, DynamicRegressionHead
from actloc.ops.points import Points, assign_targets
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.structures import Targets


class DyFADet(ConvolutionalDetector):
    """Scores each step of each level and regresses its distances to the start and the end of an action."""

    config: Config

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__(config, num_classes, max_steps)
        self.build_levels(in_channels, downsampling="max", has_relu=True)
        if config.head == "plain":
            self.cls_head, self.reg_head = config.build_heads(num_classes)
        else:
            widths = config.dim, config.head_dim or config.dim
            self.cls_head = DynamicClassificationHead(
                *widths,
                num_classes,
                num_layers=config.head_layers,
                kernel=config.head_kernel,
                shift=config.gate_shift,
                activation=config.activation,
                prior_probability=config.prior_probability,
            )
            self.reg_head = DynamicRegressionHead(
                *widths,
                len(config.strides),
                num_layers=config.head_layers,
                kernel=config.head_kernel,
                shift=config.gate_shift,
            )
            if config.gate_bias is not None:
                for name, weight in self.named_parameters():
                    if name.endswith("gate_conv.bias"):
                        nn.init.constant_(weight, config.gate_bias)
        self.criterion = config.build_criterion(self._assign, counts_pairs=True)

    def _assign(self, points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        radius = self.config.center_radius or math.inf
        return Assignment(*assign_targets(points, targets, self.num_classes, radius))

    def forward(self, features: Tensor, mask: Tensor) -> PointOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps."""
        return self.at_points(*self.levels(features, mask))
