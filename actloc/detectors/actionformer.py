"""ActionFormer: every step of a transformer pyramid scores classes and regresses borders (Zhang et al., 2022)."""

import math
from typing import Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from actloc.detectors.base import PointConfig
from actloc.detectors.base_network import PointDetector
from actloc.layers.attention import TransformerBlock
from actloc.layers.norms import channel_norm
from actloc.layers.positions import PositionTable
from actloc.layers.pyramid import ConvBlock, NormNeck, TopDownNeck, level_masks
from actloc.ops.points import Points, assign_targets
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.structures import Targets


class Config(PointConfig):
    """Settings of ActionFormer; the defaults are those of THUMOS14 with I3D features."""

    backbone: Literal["transformer", "conv"] = "transformer"
    """What the blocks of the pyramid are: transformers, or residual convolutions without attention and positions."""
    num_heads: PositiveInt = 4
    """Attention heads; they share the channels evenly."""
    windows: int | tuple[int, ...] = 19
    """Steps that attention sees, for all levels or one number for each; 1 or less sees the whole video."""
    num_stem_blocks: int = Field(default=2, ge=0)
    """Blocks at full length."""
    position_embedding: bool = False
    """Whether sinusoid positions are added to the embedding."""
    relative_positions: bool = False
    """Whether attention within a window learns what each distance adds to a score; windows must then be odd."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after attention and inside the MLP."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance that a residual branch is left out; at 0 the branches lose their learnable scales too."""
    first_level: int = Field(default=0, ge=0)
    """The finest level of the pyramid that the neck and the heads see: 1 leaves out the one at full length."""
    neck: Literal["identity", "fpn"] = "identity"
    """From pyramid to heads: only a norm for each level, or a top-down path that adds coarse levels to fine ones."""
    neck_norm: bool = True
    """Whether the neck has norms; without them the convolutions of the neck fpn have biases."""

    @field_validator("first_level")
    @classmethod
    def _is_a_level(cls, level: int, others: ValidationInfo) -> int:
        last = others.data.get("num_branch_blocks", level)
        if level > last:
            raise ValueError(f"found {level}, expected a level of the pyramid, 0 to {last}")
        return level

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_levels = self.num_branch_blocks + 1
        if self.dim % self.num_heads:
            raise ValueError(f"dim is {self.dim}: it must be a multiple of num_heads, {self.num_heads}")
        if isinstance(self.windows, tuple) and len(self.windows) != num_levels:
            raise ValueError(f"windows has {len(self.windows)} numbers: one, or one for each of {num_levels} levels")
        if self.backbone == "conv" and (self.position_embedding or self.relative_positions):
            name = "position_embedding" if self.position_embedding else "relative_positions"
            raise ValueError(f"{name}: the backbone conv takes none; set it to false")
        if self.relative_positions and any(window > 1 and window % 2 == 0 for window in self.level_windows):
            raise ValueError("windows: with relative_positions they must be odd, or 1 or less for the whole video")
        return self

    @property
    def strides(self) -> list[int]:
        """Feature steps from one point to the next, for each level that the heads see."""
        return super().strides[self.first_level :]

    @property
    def level_windows(self) -> list[int]:
        """The attention window of each level of the pyramid."""
        if isinstance(self.windows, tuple):
            return list(self.windows)
        return [self.windows] * (self.num_branch_blocks + 1)

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> "ActionFormer":
        """A new ActionFormer, initialised as the official one."""
        return ActionFormer(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Local and global attention, positions, dropout and three levels, 16 channels wide."""
        return cls(
            dim=16,
            num_heads=2,
            windows=(5, 5, -1),
            num_embedding_convs=1,
            num_stem_blocks=1,
            num_branch_blocks=2,
            position_embedding=True,
            regression_ranges=((0, 4), (4, 8), (8, 10000)),
            head_layers=2,
            dropout=0.1,
        )


class ActionFormer(PointDetector):
    """Scores each step of each level and regresses its distances to the start and the end of an action."""

    config: Config

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__(config, num_classes, max_steps)
        self.positions = PositionTable(max_steps, config.dim) if config.position_embedding else None
        self.backbone = config.build_pyramid(in_channels, self._block, config.level_windows, config.num_stem_blocks)
        num_levels = len(config.strides)
        self.neck = (
            NormNeck(channel_norm(config.dim, config.neck_norm) for _ in range(num_levels))
            if config.neck == "identity"
            else TopDownNeck(config.dim, num_levels, config.scale_factor, has_norm=config.neck_norm)
        )
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
        """The shortest T that gives the official numbers: padding keeps the official end of every level.

        Convolutions see half a kernel of padded steps after the last real one, so every level keeps that many
        wherever the official padding has them.
        """
        stride = self.config.strides[-1]
        margin = max(self.config.embedding_kernel, self.config.head_kernel, self.config.scale_factor + 1) // 2
        return min((math.ceil(longest / stride) + margin) * stride, self.official_steps(longest))

    @property
    def divisor(self) -> int:
        """The largest attention chunk, in feature steps."""
        # officially the levels that the heads see meet the windows of the first levels, also where they are others
        pairs = zip(self.config.strides, self.config.level_windows, strict=False)
        return max(stride * 2 * (window // 2) if window > 1 else stride for stride, window in pairs)

    def forward(self, features: Tensor, mask: Tensor) -> PointOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps."""
        stride = self.config.strides[-1]
        assert features.shape[2] % stride == 0, f"{features.shape[2]} steps are not a multiple of the stride {stride}"
        masks = level_masks(mask[:, None], self.config.num_branch_blocks + 1, self.config.scale_factor)
        pyramid = self.backbone(features, masks, self._position_embedding(mask))
        masks = masks[self.config.first_level :]
        return self.at_points(self.neck(pyramid[self.config.first_level :], masks), masks)

    def _position_embedding(self, mask: Tensor) -> Tensor | None:
        """(1 or B, C, T): in evaluation stretched over the steps that a video is officially padded to."""
        if self.positions is None:
            return None
        lengths = [self.max_steps] if self.training else mask.sum(dim=1).tolist()
        spans = [self.official_steps(length) if length > self.max_steps else self.max_steps for length in lengths]
        return self.positions(spans, mask.shape[1])
