"""The network of ActionFormer."""

import math

from torch import Tensor, nn

from actloc.detectors.actionformer import Config
from actloc.detectors.base_network import PointDetector
from actloc.layers.attention import TransformerBlock
from actloc.layers.positions import PositionTable
from actloc.layers.pyramid import ConvBlock, build_neck, level_masks
from actloc.ops.points import Points, assign_targets
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.structures import Targets


class ActionFormer(PointDetector):
    """Scores each step of each level and regresses its distances to the start and the end of an action."""

    config: Config

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__(config, num_classes, max_steps)
        self.positions = PositionTable(max_steps, config.dim) if config.position_embedding else None
        self.backbone = config.build_pyramid(in_channels, self._block, config.level_windows, config.num_stem_blocks)
        self.neck = build_neck(config.neck, config.dim, len(config.strides), config.scale_factor, config.neck_norm)
        self.cls_head, self.reg_head = config.build_heads(num_classes)
        self.criterion = config.build_criterion(self._assign)

    def _block(self, window: int, stride: int) -> nn.Module:
        config = self.config
        if config.backbone == "conv":
            return ConvBlock(config.dim, stride=stride)
        return TransformerBlock(
            config.dim,
            config.num_heads,
            window=window,
            stride=stride,
            dropout=config.dropout,
            drop_path=config.drop_path,
            relative_positions=config.relative_positions,
        )

    def _assign(self, points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        radius = self.config.center_radius or math.inf
        return Assignment(*assign_targets(points, targets, self.num_classes, radius))

    def padded_steps(self, longest: int) -> int:
        """The shortest T that gives the official numbers."""
        return self.least_padded_steps(longest)

    @property
    def divisor(self) -> int:
        """The largest attention chunk, in feature steps."""
        # officially the levels that the heads see meet the windows of the first levels, also where they are others
        pairs = zip(self.config.strides, self.config.level_windows, strict=False)
        return max(stride * 2 * (window // 2) if window > 1 else stride for stride, window in pairs)

    def learning_outputs(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> PointOutputs:
        """Without the offsets of points that learn none."""
        outputs: PointOutputs = self(features, mask, targets)
        return outputs

    def forward(self, features: Tensor, mask: Tensor, targets: list[Targets] | None = None) -> PointOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps.

        With `targets`, offsets are those of their positive points only.
        """
        stride = self.config.strides[-1]
        assert features.shape[2] % stride == 0, f"{features.shape[2]} steps are not a multiple of the stride {stride}"
        masks = level_masks(mask[:, None], self.config.num_branch_blocks + 1, self.config.scale_factor)
        pyramid = self.backbone(features, masks, self._position_embedding(mask))
        masks = masks[self.config.first_level :]
        return self.at_points(self.neck(pyramid[self.config.first_level :], masks), masks, targets)

    def _position_embedding(self, mask: Tensor) -> Tensor | None:
        """(1 or B, C, T): in evaluation stretched over the steps that a video is officially padded to."""
        if self.positions is None:
            return None
        if self.training or mask.shape[1] <= self.max_steps:
            return self.positions([self.max_steps], mask.shape[1])
        lengths = mask.sum(dim=1).tolist()
        spans = [self.official_steps(length) if length > self.max_steps else self.max_steps for length in lengths]
        return self.positions(spans, mask.shape[1])
