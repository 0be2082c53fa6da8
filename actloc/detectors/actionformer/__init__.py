"""ActionFormer: every step of a transformer pyramid scores classes and regresses borders (Zhang et al., 2022)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from actloc.detectors.base import PointConfig

if TYPE_CHECKING:
    from actloc.detectors.actionformer.network import ActionFormer


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

    @property
    def reach_steps(self) -> int | None:
        """Half a kernel or window of every layer, in feature steps; the coarsest level reaches farthest.

        None with attention to the whole video, or with positions, which are stretched over the whole video.
        """
        is_conv = self.backbone == "conv"
        windows = self.level_windows if self.num_stem_blocks else self.level_windows[1:]
        if self.position_embedding or (not is_conv and any(window <= 1 for window in windows)):
            return None
        before = 1 if is_conv else self.scale_factor // 2  # half the kernel that shortens the sequence
        after = [1 if is_conv else window // 2 for window in self.level_windows]
        reach = self.num_embedding_convs * (self.embedding_kernel // 2) + self.num_stem_blocks * (1 + after[0])
        for level in range(1, self.num_branch_blocks + 1):
            reach += (before + after[level] * self.scale_factor) * self.scale_factor ** (level - 1)
        in_neck = 1 if self.neck == "fpn" else 0
        return reach + (in_neck + self.head_layers * (self.head_kernel // 2)) * self.strides[-1]

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> ActionFormer:
        """A new ActionFormer, initialised as the official one."""
        from actloc.detectors.actionformer.network import ActionFormer

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
