"""Where features come from: a detector and the trainer see samples and batches, not files or encoders."""

import random
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from actloc.annotations import AnnotatedVideo, Annotations
from actloc.config import Fraction, Part
from actloc.structures import Grid, Targets


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
        """Features (B, C, num_steps), zero behind each video's end, and the mask (B, num_steps), true on real steps."""
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


class SourceConfig(Part):
    """The time grid of the features and the windows that training sees."""

    path: Path
    """The feature store."""
    fps: PositiveFloat
    """Frames per second at which frames are counted; videos are resampled to it."""
    clip_frames: PositiveInt
    """Frames that one feature covers."""
    stride_frames: PositiveInt
    """Frames from one feature to the next."""
    align: Literal["valid", "backpad", "centred"] = "valid"
    """valid: clips inside the video; backpad: one more that ends with it; centred: clips around every stride."""
    dtype: Literal["float32", "float16"] = "float32"
    """How features are stored."""
    max_steps: PositiveInt = 2304
    """The longest window that training sees; longer videos are cut at random."""
    crop_ratio: tuple[Fraction, Fraction] | None = (0.9, 1.0)
    """Shorter videos are cut at random to a share between these; none keeps them whole."""
    min_kept: Fraction = 0.5
    """An action stays in a window if at least this share of its length does."""
    resize_to: PositiveInt | None = None
    """Interpolate every video's features to so many steps (ActivityNet); none keeps their number."""
    past_end: Literal["keep", "clip"] = "keep"
    """Training actions beyond the last feature: keep them, or clip them there (ActivityNet)."""
    drop_duplicates: bool = False
    """Leave out actions that repeat one of the same class within 1 ms (ActivityNet)."""
    downsample: PositiveInt = 1
    """Use every so many-th feature."""
    allow_missing: bool = False
    """Go on without the videos that have no features; they are named, and count as missed in evaluation."""
    tolerance_steps: NonNegativeFloat = 2.0
    """Features may be so many steps more or fewer than the video's duration asks for."""

    @model_validator(mode="after")
    def _crop_is_a_range(self) -> Self:
        if self.crop_ratio is not None and not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(
                f"crop_ratio: found {list(self.crop_ratio)}, expected two shares above 0, the smaller first"
            )
        return self

    @abstractmethod
    def build(self, annotations: Annotations, subset: str, encoder: "Part | None") -> "Source":
        """The source of one subset; raises UserError where features are missing or do not fit."""


class Source:
    """The features and actions of one subset's videos."""

    videos: list[AnnotatedVideo]
    """The videos with features, in id order."""
    missing: list[AnnotatedVideo]
    """The videos without, left out because the settings allow it."""
    in_channels: int
    encoder_weights_sha256: str | None
    """Which weights made the features; None for an encoder without any."""

    @abstractmethod
    def training_sample(self, index: int, generator: random.Random) -> Sample:
        """Video `index` as training sees it: cropped at random."""

    @abstractmethod
    def evaluation_sample(self, index: int) -> Sample:
        """Video `index` whole."""
