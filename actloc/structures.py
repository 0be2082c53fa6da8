"""The data structures that all parts share: time grids, targets, detections, samples and batches.

Letters in shapes, the same everywhere:
B videos of a batch   T feature steps       C channels    K classes     L pyramid levels
S clips of a video    F frames of a clip    H W pixels    N segments
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Converts between seconds and feature steps; nothing else does.

    Step i is centred on frame `i * stride_frames + offset_frames` of a video at `fps` frames per second.
    ActionFormer's grid has offset_frames = half a clip.
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


@dataclass(frozen=True)
class Sample:
    """One video's window: `features` (C, T), its actions in steps, and the grid that turns steps into seconds."""

    video_id: str
    features: Tensor
    targets: Targets
    grid: Grid


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass, not yet padded."""

    samples: tuple[Sample, ...]

    @property
    def video_ids(self) -> list[str]:
        """The videos in the batch, in order."""
        return [sample.video_id for sample in self.samples]

    @property
    def lengths(self) -> list[int]:
        """Steps of each sample."""
        return [sample.features.shape[1] for sample in self.samples]

    def padded(self, num_steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features (B, C, num_steps), zero after each video's end, and the mask (B, num_steps), true on real steps."""
        channels = self.samples[0].features.shape[0]
        features = torch.zeros(len(self.samples), channels, num_steps)
        for row, sample in zip(features, self.samples, strict=True):
            row[:, : sample.features.shape[1]] = sample.features
        mask = torch.arange(num_steps) < torch.tensor(self.lengths)[:, None]
        return features.to(device), mask.to(device)

    def targets(self, device: torch.device) -> list[Targets]:
        """The samples' actions on `device`."""
        return [
            Targets(sample.targets.segments.to(device), sample.targets.labels.to(device)) for sample in self.samples
        ]


@dataclass(frozen=True)
class VideoDetections:
    """The detections of one video, in seconds."""

    video_id: str
    detections: Detections
