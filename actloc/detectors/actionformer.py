"""ActionFormer: every step of a transformer pyramid scores classes and regresses borders (Zhang et al., 2022)."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from actloc.detectors.base import Detector, DetectorConfig
from actloc.errors import UserError
from actloc.layers.attention import TransformerBlock
from actloc.layers.heads import ClassificationHead, RegressionHead, drop_gaps, join_levels
from actloc.layers.positions import PositionTable
from actloc.layers.precision import full_precision
from actloc.layers.pyramid import ConvBlock, FeaturePyramid, NormNeck, TopDownNeck, level_masks
from actloc.ops.losses import distance_iou_loss, sigmoid_focal_loss
from actloc.ops.points import Points, assign_targets, best_segments, level_points
from actloc.structures import Detections, Targets

NORMALISER_MOMENTUM = 0.9  # section 3.4 of the paper: how much of the loss normaliser stays at each training step
SMALLEST_BALANCED_LOSS = 0.01  # official floor of the regression loss where the two losses balance themselves
SIX_RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))  # official for THUMOS14 and ActivityNet


class Config(DetectorConfig):
    """Settings of ActionFormer; the defaults are those of THUMOS14 with I3D features."""

    backbone: Literal["transformer", "conv"] = "transformer"
    """What the blocks of the pyramid are: transformers, or residual convolutions without attention and positions."""
    neck: Literal["identity", "fpn"] = "identity"
    """From pyramid to heads: only a norm for each level, or a top-down path that adds coarse levels to fine ones."""
    projection: tuple[tuple[PositiveInt, PositiveInt], ...] = ()
    """For features of several kinds side by side: for each its channels and the channels it is projected to."""
    dim: PositiveInt = 512
    """Channels of every level of the pyramid and of the heads."""
    num_heads: PositiveInt = 4
    """Attention heads; they share the channels evenly."""
    windows: int | tuple[int, ...] = 19
    """Steps that attention sees, for all levels or one number for each; 1 or less sees the whole video."""
    num_embedding_convs: PositiveInt = 2
    """Convolutions before the first transformer block."""
    embedding_kernel: PositiveInt = 3
    """Steps under each of these convolutions; odd."""
    embedding_norm: bool = True
    """Whether a norm follows each of them; without it they have biases."""
    num_stem_blocks: int = Field(default=2, ge=0)
    """Transformer blocks at full length."""
    num_branch_blocks: int = Field(default=5, ge=0)
    """Transformer blocks that shorten the sequence; each gives a level, besides the level of the stem."""
    scale_factor: int = Field(default=2, ge=2, multiple_of=2)
    """How many steps of a level become one of the next."""
    position_embedding: bool = False
    """Whether sinusoid positions are added to the embedding."""
    relative_positions: bool = False
    """Whether attention within a window learns what each distance adds to a score; windows must then be odd."""
    first_level: int = Field(default=0, ge=0)
    """The finest level of the pyramid that the neck and the heads see: 1 leaves out the one at full length."""
    neck_norm: bool = True
    """Whether the neck has norms; without them the convolutions of the neck fpn have biases."""
    regression_ranges: tuple[tuple[NonNegativeFloat, PositiveFloat], ...] = SIX_RANGES
    """For each level that the heads see: the nearest and farthest action border, in feature steps, that it learns."""
    head_layers: PositiveInt = 3
    """Convolutions of each head, the last one included."""
    head_kernel: PositiveInt = 3
    """Steps under each convolution of the heads; odd."""
    head_norm: bool = True
    """Whether a norm follows each convolution of the heads but the last; without it they have biases."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after attention and inside the MLP."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance that a residual branch is left out; at 0 the branches lose their learnable scales too."""

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

    max_buffer_factor: float = Field(default=6.0, ge=1)
    """The longest video that can be evaluated, as a multiple of the longest that is trained on."""
    score_threshold: float = Field(default=0.001, ge=0, lt=1)
    """Only scores above this become segments."""
    kept_per_level: PositiveInt = 2000
    """The most segments that a level of the pyramid may give for a video."""
    shortest_steps: NonNegativeFloat = 0.05
    """Only segments longer than this, in feature steps, are kept."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_levels = self.num_branch_blocks + 1
        if self.first_level >= num_levels:
            raise ValueError(f"first_level is {self.first_level}: the pyramid has levels 0 to {num_levels - 1}")
        if self.dim % self.num_heads:
            raise ValueError(f"dim is {self.dim}: it must be a multiple of num_heads, {self.num_heads}")
        if isinstance(self.windows, tuple) and len(self.windows) != num_levels:
            raise ValueError(f"windows has {len(self.windows)} numbers: one, or one for each of {num_levels} levels")
        if len(self.regression_ranges) != len(self.strides):
            raise ValueError(
                f"regression_ranges has {len(self.regression_ranges)} pairs for {len(self.strides)} levels"
            )
        if any(nearest > farthest for nearest, farthest in self.regression_ranges):
            raise ValueError("regression_ranges: the nearest border of a level lies beyond its farthest")
        if self.projection and sum(projected for _, projected in self.projection) != self.dim:
            raise ValueError(f"projection: the channels after it must add up to dim, {self.dim}")
        if self.backbone == "conv" and (self.position_embedding or self.relative_positions):
            name = "position_embedding" if self.position_embedding else "relative_positions"
            raise ValueError(f"{name}: the backbone conv takes none; set it to false")
        if self.relative_positions and any(window > 1 and window % 2 == 0 for window in self.level_windows):
            raise ValueError("windows: with relative_positions they must be odd, or 1 or less for the whole video")
        if self.embedding_kernel % 2 == 0 or self.head_kernel % 2 == 0:
            raise ValueError("embedding_kernel and head_kernel must be odd, so that they have a centre")
        return self

    @property
    def strides(self) -> list[int]:
        """Feature steps from one point to the next, for each level that the heads see."""
        return [self.scale_factor**level for level in range(self.first_level, self.num_branch_blocks + 1)]

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


@dataclass(frozen=True)
class Outputs:
    """What the network says at every point, the levels in a row, finest first."""

    logits: Tensor
    """(B, P, K): zero on padded points."""
    offsets: Tensor
    """(B, P, 2): distances to start and end, in strides of the level."""
    mask: Tensor
    """(B, P): true on real points."""
    level_lengths: list[int]
    """Points of each level; they add up to P."""


def _build_backbone(config: Config, in_channels: int) -> FeaturePyramid:
    expected = sum(channels for channels, _ in config.projection)
    if config.projection and expected != in_channels:
        raise UserError(
            f"The features have {in_channels} channels; the parts of detector.projection have {expected} in all.",
            "Expected one part for each kind of feature, in the order in which they lie side by side.",
            "Mend detector.projection, or leave it out to take all channels together.",
        )

    def transformer_block(window: int, stride: int) -> nn.Module:
        return TransformerBlock(
            config.dim,
            config.num_heads,
            window=window,
            stride=stride,
            dropout=config.dropout,
            drop_path=config.drop_path,
            relative_positions=config.relative_positions,
        )

    def conv_block(window: int, stride: int) -> nn.Module:
        return ConvBlock(config.dim, stride=stride)

    return FeaturePyramid(
        in_channels,
        config.dim,
        conv_block if config.backbone == "conv" else transformer_block,
        windows=config.level_windows,
        projection=config.projection,
        num_embedding_convs=config.num_embedding_convs,
        embedding_kernel=config.embedding_kernel,
        embedding_norm=config.embedding_norm,
        num_stem_blocks=config.num_stem_blocks,
        scale_factor=config.scale_factor,
    )


class ActionFormer(Detector):
    """Scores each step of each level and regresses its distances to the start and the end of an action."""

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.max_steps = max_steps
        self.normaliser = config.initial_normaliser
        self.moves_by_step = False
        self.positions = PositionTable(max_steps, config.dim) if config.position_embedding else None
        self.backbone = _build_backbone(config, in_channels)
        num_levels = len(config.strides)
        self.neck = (
            NormNeck(config.dim, num_levels, has_norm=config.neck_norm)
            if config.neck == "identity"
            else TopDownNeck(config.dim, num_levels, config.scale_factor, has_norm=config.neck_norm)
        )
        self.cls_head = ClassificationHead(
            config.dim,
            num_classes,
            num_layers=config.head_layers,
            kernel=config.head_kernel,
            prior_probability=config.prior_probability,
            has_norm=config.head_norm,
        )
        self.reg_head = RegressionHead(
            config.dim,
            num_levels,
            num_layers=config.head_layers,
            kernel=config.head_kernel,
            has_norm=config.head_norm,
        )

    def expect_no_actions_of(self, classes: list[int]) -> None:
        """Start these classes near zero: focal loss would take long to learn that they never come."""
        self.cls_head.start_at(self.config.empty_class_probability, classes)

    def padded_steps(self, longest: int) -> int:
        """The shortest T that gives the official numbers: padding keeps the official end of every level.

        Convolutions see half a kernel of padded steps behind the last real one, so every level keeps that many
        wherever the official padding has them (spec: actionformer, section 2).
        """
        stride = self.config.strides[-1]
        margin = max(self.config.embedding_kernel, self.config.head_kernel, self.config.scale_factor + 1) // 2
        return min((math.ceil(longest / stride) + margin) * stride, self._official_steps(longest))

    def _official_steps(self, length: int) -> int:
        """What official ActionFormer pads a video of `length` steps to; raises UserError where it is too long."""
        longest = self.max_steps if self.training else int(self.max_steps * self.config.max_buffer_factor)
        if length > longest:
            raise UserError(
                f"A video has {length} feature steps.",
                f"Expected at most {longest} in {'training' if self.training else 'evaluation'}.",
                "Raise features.max_steps" + ("." if self.training else " or detector.max_buffer_factor."),
            )
        stride = self.config.strides[-1]
        unit = stride if length <= self.max_steps else math.lcm(stride, self._divisor)
        return math.ceil(max(length, self.max_steps) / unit) * unit

    @property
    def _divisor(self) -> int:
        """Official lengths beyond `max_steps` are multiples of this: the largest attention chunk, in feature steps."""
        # officially the levels that the heads see meet the windows of the first levels, also where they are others
        pairs = zip(self.config.strides, self.config.level_windows, strict=False)
        return max(stride * 2 * (window // 2) if window > 1 else stride for stride, window in pairs)

    def forward(self, features: Tensor, mask: Tensor) -> Outputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps."""
        stride = self.config.strides[-1]
        assert features.shape[2] % stride == 0, f"{features.shape[2]} steps are not a multiple of the stride {stride}"
        masks = level_masks(mask[:, None], self.config.num_branch_blocks + 1, self.config.scale_factor)
        pyramid = self.backbone(features, masks, self._position_embedding(mask))
        masks = masks[self.config.first_level :]
        levels = self.neck(pyramid[self.config.first_level :], masks)
        lengths = [level.shape[2] for level in levels]
        gap = self.config.head_kernel // 2
        joined, joined_mask = join_levels(levels, gap), join_levels(masks, gap)
        inside = join_levels([torch.ones_like(level_mask[:1]) for level_mask in masks], gap)
        logits = self.cls_head(joined, joined_mask, inside)
        offsets = self.reg_head(joined, joined_mask, inside, [length + gap for length in lengths])
        return Outputs(
            logits=drop_gaps(logits, lengths, gap).transpose(1, 2),
            offsets=drop_gaps(offsets, lengths, gap).transpose(1, 2),
            mask=torch.cat(masks, dim=2)[:, 0],
            level_lengths=lengths,
        )

    def _position_embedding(self, mask: Tensor) -> Tensor | None:
        """(1 or B, C, T): in evaluation stretched over the steps that a video is officially padded to."""
        if self.positions is None:
            return None
        lengths = [self.max_steps] if self.training else mask.sum(dim=1).tolist()
        spans = [self._official_steps(length) if length > self.max_steps else self.max_steps for length in lengths]
        return self.positions(spans, mask.shape[1])

    def losses(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> dict[str, Tensor]:
        """Focal loss of all real points and DIoU loss of the positive ones, both divided by the loss normaliser."""
        outputs = self(features, mask)
        with full_precision(features.device):
            return self._losses_of(outputs, targets)

    def _losses_of(self, outputs: Outputs, targets: list[Targets]) -> dict[str, Tensor]:
        points = self._points(outputs.level_lengths, outputs.mask.device)
        classes, target_offsets = self._assign(points, targets)
        positive = (classes.sum(dim=2) > 0) & outputs.mask
        if self.training and not self.moves_by_step:
            self._move_normaliser(int(positive.sum()))
        smoothing = self.config.label_smoothing
        classes = classes * (1 - smoothing) + smoothing / (self.num_classes + 1)
        focal = sigmoid_focal_loss(outputs.logits.float(), classes) * outputs.mask[..., None]
        classification = focal.sum() / self.normaliser
        distances = distance_iou_loss(outputs.offsets.float(), target_offsets)
        regression = torch.where(positive, distances, 0.0).sum() / self.normaliser
        return {"classification": classification, "regression": self._weight(classification, regression) * regression}

    def _weight(self, classification: Tensor, regression: Tensor) -> Tensor | float:
        if self.config.loss_weight > 0:
            return self.config.loss_weight
        return classification.detach() / regression.detach().clamp(min=SMALLEST_BALANCED_LOSS)

    def weight_of(self, lengths: list[int], targets: list[Targets]) -> float:
        """The number of positive points."""
        level_lengths = [self.padded_steps(max(lengths)) // stride for stride in self.config.strides]
        points = self._points(level_lengths, targets[0].segments.device)
        classes, _ = self._assign(points, targets)
        is_real = points.steps < torch.tensor(lengths, device=points.steps.device)[:, None]
        return float(((classes.sum(dim=2) > 0) & is_real).sum())

    def start_step(self, weight: float) -> None:
        """Moves the loss normaliser by a step's positive points; from now on `losses` leaves it alone."""
        self.moves_by_step = True
        self._move_normaliser(weight)

    def _move_normaliser(self, num_positive: float) -> None:
        moved = (1 - NORMALISER_MOMENTUM) * max(num_positive, 1)
        self.normaliser = NORMALISER_MOMENTUM * self.normaliser + moved

    def _points(self, level_lengths: list[int], device: torch.device) -> Points:
        return level_points(level_lengths, self.config.strides, self.config.regression_ranges, device)

    def _assign(self, points: Points, targets: list[Targets]) -> tuple[Tensor, Tensor]:
        return assign_targets(points, targets, self.num_classes, self.config.center_radius or math.inf)

    def training_state(self) -> dict[str, float]:
        """The loss normaliser."""
        return {"normaliser": self.normaliser}

    def load_training_state(self, state: dict[str, float]) -> None:
        """Go on from what `training_state` gave."""
        self.normaliser = state["normaliser"]

    @torch.no_grad()
    def detect(self, features: Tensor, mask: Tensor) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression; best first within a level."""
        outputs = self(features, mask)
        points = self._points(outputs.level_lengths, features.device)
        scores = outputs.logits.float().sigmoid() * outputs.mask[..., None]
        reaches = outputs.offsets.float() * points.strides[:, None]  # (B, P, 2) in feature steps
        segments = torch.stack((points.steps - reaches[..., 0], points.steps + reaches[..., 1]), dim=2)
        return [self._select(*of_video, outputs.level_lengths) for of_video in zip(scores, segments, strict=True)]

    def _select(self, scores: Tensor, segments: Tensor, level_lengths: list[int]) -> Detections:
        """One video's detections, the best of each level, from all its scores (P, K) and segments (P, 2)."""
        config = self.config
        levels = [
            best_segments(*of_level, config.score_threshold, config.kept_per_level, config.shortest_steps)
            for of_level in zip(torch.split(scores, level_lengths), torch.split(segments, level_lengths), strict=True)
        ]
        return Detections(
            torch.cat([level.segments for level in levels]),
            torch.cat([level.scores for level in levels]),
            torch.cat([level.labels for level in levels]),
        )
