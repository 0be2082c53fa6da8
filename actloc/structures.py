"""The few shapes everything else speaks: time grids, segments to learn, segments found.

Letters, the same everywhere:
B videos of a batch   T feature steps       C channels    K classes     L pyramid levels
S clips of a video    F frames of a clip    H W pixels    N segments
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The only bridge between seconds and feature steps.

    Step i is centred on frame `i * stride_frames + offset_frames` of a video at `fps` frames per second
    (spec: features, section 1; ActionFormer's grid has offset_frames = half a clip).
    """

    fps: float
    stride_frames: float
    offset_frames: float

    @property
    def offset_steps(self) -> float:
        """Steps between time zero and the first feature."""
        return self.offset_frames / self.stride_frames

    def steps(self, seconds: Tensor) -> Tensor:
        """Feature steps of points in time; may be negative before the first feature's centre."""
        return seconds * self.fps / self.stride_frames - self.offset_steps

    def seconds(self, steps: Tensor) -> Tensor:
        """Points in time of feature steps, not clipped to the video."""
        return (steps * self.stride_frames + self.offset_frames) / self.fps


@dataclass(frozen=True)
class Targets:
    """The actions of one video: `segments` (N, 2) in feature steps, `labels` (N,) class numbers."""

    segments: Tensor
    labels: Tensor

    @staticmethod
    def none() -> "Targets":
        """A video without actions: background only."""
        return Targets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))


@dataclass(frozen=True)
class Detections:
    """Scored segments of one video: `segments` (N, 2), `scores` (N,), `labels` (N,) class numbers."""

    segments: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)
