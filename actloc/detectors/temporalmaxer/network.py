"""The network of TemporalMaxer."""

import math

import torch
from torch import Tensor, nn

from actloc.detectors.base_network import PointDetector
from actloc.detectors.temporalmaxer import GROUPS, Config
from actloc.layers.norms import channel_norm
from actloc.layers.pyramid import NormNeck, level_masks
from actloc.ops.losses import distance_iou_loss, sigmoid_focal_loss
from actloc.ops.points import Points, assign_targets
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.structures import Targets


class Pooling(nn.Module):
    """The maximum of three steps around every `stride`-th."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool1d(3, stride, 1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T / stride), zero where `mask` (B, 1, T / stride) is false; padded steps have a say."""
        return self.pool(features) * mask


class TemporalMaxer(PointDetector):
    """Scores each step of each level and regresses its distances to the start and the end of an action."""

    config: Config

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__(config, num_classes, max_steps)
        num_levels = len(config.strides)
        self.backbone = config.build_pyramid(in_channels, lambda _, stride: Pooling(stride), [0] * num_levels)
        norm = channel_norm(config.dim, config.neck_norm == "channel")
        if config.neck_norm == "group":
            norm = nn.GroupNorm(GROUPS, config.dim, affine=False)
        self.neck = NormNeck([norm] * num_levels)
        self.cls_head, self.reg_head = config.build_heads(num_classes)
        # where all points are kept each counts one, whatever the network predicts
        self.criterion = config.build_criterion(self._assign, weight_follows_from_targets=config.kept_share == 1)

    def padded_steps(self, longest: int) -> int:
        """The official length where the norm of the neck is over all steps, else the shortest with the same numbers."""
        return self.official_steps(longest) if self.config.neck_norm == "group" else self.least_padded_steps(longest)

    def learning_outputs(self, features: Tensor, mask: Tensor, targets: list[Targets]) -> PointOutputs:
        """Without the offsets of points that learn none, unless points compete by their offsets for what they learn."""
        outputs: PointOutputs = self(features, mask, targets if self.config.kept_share == 1 else None)
        return outputs

    def forward(self, features: Tensor, mask: Tensor, targets: list[Targets] | None = None) -> PointOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T) is true on real steps.

        With `targets`, offsets are those of their positive points only.
        """
        masks = level_masks(mask[:, None], len(self.config.strides), self.config.scale_factor)
        return self.at_points(self.neck(self.backbone(features, masks), masks), masks, targets)

    @torch.no_grad()
    def _assign(self, points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        """ActionFormer's classes, but the borders of the action that would cost the outputs least."""
        classes, offsets = assign_targets(points, targets, self.num_classes, self.config.center_radius or math.inf)
        if outputs is None:
            return Assignment(classes, offsets)
        weights = torch.ones_like(outputs.mask, dtype=torch.float32)
        for video, (starts, ends, labels) in enumerate((*one.segments.float().T, one.labels) for one in targets):
            if len(labels) == 0:
                continue
            borders = torch.stack((points.steps[:, None] - starts, ends - points.steps[:, None]), dim=2)
            borders = borders / points.strides[:, None, None]  # (P, N, 2)
            inside = (borders >= 0).all(dim=2) & outputs.mask[video, :, None]
            logits = outputs.logits[video].float()
            silent, loud = (sigmoid_focal_loss(logits, torch.full_like(logits, target)) for target in (0, 1))
            cost = self.config.class_cost * (silent.sum(dim=1, keepdim=True) + (loud - silent)[:, labels])
            cost = cost + self.config.border_cost * distance_iou_loss(outputs.offsets[video, :, None].float(), borders)
            cost = cost.masked_fill(~inside, math.inf)  # (P, N)
            offsets[video] = borders.take_along_dim(cost.argmin(dim=1)[:, None, None], dim=1)[:, 0]
            if self.config.kept_share < 1:
                rank = cost.argsort(dim=0, stable=True).argsort(dim=0)
                is_kept = (rank < (inside.sum(dim=0) * self.config.kept_share).int()).any(dim=1)
                weights[video] = torch.where(inside.any(dim=1) & ~is_kept, self.config.other_weight, 1.0)
        return Assignment(classes, offsets, weights)
