"""Losses of detectors, element by element; the caller masks, sums and normalises."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_DENOMINATOR = 1e-8  # official DIoU: keeps empty predictions finite
SMALLEST_CHANCE = 1e-6  # official softmax focal loss: keeps logarithms finite


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., 2017, arXiv 1708.02002) of logits (...) against soft targets in [0, 1], shape (...)."""
    probabilities = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    chance_of_target = probabilities * targets + (1 - probabilities) * (1 - targets)
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return balance * cross_entropy * (1 - chance_of_target) ** gamma


def softmax_focal_loss(logits: Tensor, labels: Tensor, class_weights: Sequence[float], *, gamma: float = 2.0) -> Tensor:
    """Focal loss (N,) of one class each: logits (N, K), labels (N,), a weight per class; as in AFSD's code."""
    chance_of_label = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0] + SMALLEST_CHANCE
    weights = torch.tensor(class_weights, dtype=logits.dtype, device=logits.device)[labels]
    return -weights * (1 - chance_of_label) ** gamma * chance_of_label.log()


def iou_around_point(offsets: Tensor, target_offsets: Tensor) -> Tensor:
    """IoU (...) of segments around the same point: both are (..., 2), distances to start and end.

    Where a predicted distance is negative, the IoU may be so too.
    """
    intersection = torch.minimum(offsets, target_offsets).sum(-1)
    union = offsets.sum(-1) + target_offsets.sum(-1) - intersection
    return intersection / union.clamp(min=SMALLEST_DENOMINATOR)


def distance_iou_loss(offsets: Tensor, target_offsets: Tensor) -> Tensor:
    """1 - IoU + squared distance of the centres (Zheng et al., 2020), for segments around the same point.

    Both are (..., 2): distances to start and end, none negative. The result is (...).
    """
    iou = iou_around_point(offsets, target_offsets)
    hull = torch.maximum(offsets, target_offsets).sum(-1)
    shift = 0.5 * (offsets - target_offsets).diff(dim=-1).squeeze(-1)  # from one centre to the other
    return 1 - iou + (shift / hull.clamp(min=SMALLEST_DENOMINATOR)).square()


def segment_iou_loss(segments: Tensor, targets: Tensor) -> Tensor:
    """As `distance_iou_loss`, for segments (..., 2) anywhere, which may not overlap their targets (..., 2)."""
    starts, ends = segments.unbind(-1)
    target_starts, target_ends = targets.unbind(-1)
    intersection = (torch.minimum(ends, target_ends) - torch.maximum(starts, target_starts)).clamp(min=0)
    union = (ends - starts) + (target_ends - target_starts) - intersection
    hull = torch.maximum(ends, target_ends) - torch.minimum(starts, target_starts)
    shift = 0.5 * ((starts + ends) - (target_starts + target_ends))
    iou = intersection / union.clamp(min=SMALLEST_DENOMINATOR)
    return 1 - iou + (shift / hull.clamp(min=SMALLEST_DENOMINATOR)).square()
