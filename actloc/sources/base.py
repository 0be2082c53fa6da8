"""Where features come from: a detector and the trainer see samples and batches, not files or encoders."""

import random
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from actloc import annotations as annotation_form
from actloc import console
from actloc.annotations import AnnotatedVideo, Annotations
from actloc.config import Fraction, Part
from actloc.errors import UserError
from actloc.ops.crops import clip_past_end, random_crop, resize
from actloc.structures import Grid, Targets
from actloc.video.windows import num_clips


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
    fps: PositiveFloat | Literal["native"]
    """Frames per second at which frames are counted; videos are resampled to it. native: each video's own rate."""
    decode_fps: PositiveFloat | Literal["native"] | None = None
    """Show videos at this rate and pick the frames at `fps` from it, as TSP does: every so many-th of the video, or,
    where the step is not whole, anew from each clip's first frame; none resamples to `fps` at once."""
    clip_frames: PositiveInt
    """Frames that one feature covers."""
    frame_interval: PositiveInt = 1
    """An encoder sees every so many-th frame of a clip."""
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
    allow_misfits: bool = False
    """Go on if a few videos' rows do not fit their duration; they are named. Where most do not, stop anyway."""
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

    def lacking(self, annotations: Annotations) -> list[str]:
        """Videos without features, for `prepare` to tell; none where features are made later."""
        return []


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


def make_sample(
    video: AnnotatedVideo, features: Tensor, grid: Grid, config: SourceConfig, label_number: dict[str, int]
) -> Sample:
    """The video whole, as evaluation sees it: features (C, T) on `grid`, and its actions in steps."""
    actions = annotation_form.without_duplicates(video.actions) if config.drop_duplicates else video.actions
    if not actions:
        return Sample(video.id, features, Targets.none(), grid)
    segments = torch.tensor([[action.start_s, action.end_s] for action in actions], dtype=torch.float32)
    labels = torch.tensor([label_number[action.label] for action in actions])
    return Sample(video.id, features, Targets(grid.steps(segments), labels), grid)


def training_window(sample: Sample, config: SourceConfig, generator: random.Random) -> Sample:
    """The sample cropped at random, with what is left of its actions."""
    targets = sample.targets
    offset = sample.grid.offset_steps
    if config.past_end == "clip":
        targets = clip_past_end(targets, sample.features.shape[1] + offset, config.min_kept)
    features, targets = random_crop(
        sample.features,
        targets,
        generator,
        offset_steps=offset,
        max_steps=config.max_steps,
        crop_ratio=config.crop_ratio,
        min_kept=config.min_kept,
    )
    return Sample(sample.video_id, features, targets, sample.grid)


def to_grid(raw: Tensor, grid: Grid, config: SourceConfig) -> tuple[Tensor, Grid]:
    """Features (C, T') and their time grid from (T, C) on `grid`: every so many-th, or interpolated to a fixed T'."""
    if config.resize_to is None:
        stride = grid.stride_frames * config.downsample
        return raw[:: config.downsample].T.contiguous(), Grid(grid.fps, stride, grid.offset_frames)
    # ActivityNet: the whole span that the features cover is cut into equal steps, each centred in its own
    stride = ((raw.shape[0] - 1) * grid.stride_frames + config.clip_frames) / config.resize_to
    return resize(raw.T.contiguous(), config.resize_to), Grid(grid.fps, stride, 0.5 * stride)


def expected_steps(config: SourceConfig, duration_s: float, fps: float) -> int:
    """The rows that a video's duration asks for, with frames counted at `fps`."""
    return num_clips(round(duration_s * fps), config.align, config.clip_frames, config.stride_frames)


def fits(config: SourceConfig, duration_s: float, fps: float, steps: int) -> bool:
    """Whether a video has the rows that its duration asks for, give or take `tolerance_steps`."""
    return abs(expected_steps(config, duration_s, fps) - steps) <= config.tolerance_steps


def are_let_through(config: SourceConfig, num_misfits: int, num_videos: int, found: str) -> bool:
    """Whether `allow_misfits` lets these few be used, which a warning then says; where most are odd, it does not.

    `found` names the first three.
    """
    if not config.allow_misfits or 2 * num_misfits > num_videos:
        return False
    console.warn(f"{found}{', ...' if num_misfits > 3 else ''}; features.allow_misfits lets them be used")
    return True


def check_present(source: Source, config: SourceConfig, annotations: Annotations, subset: str, mend: str) -> None:
    """Raises UserError that names the videos without features, unless the settings allow them and some have."""
    if source.videos and (config.allow_missing or not source.missing):
        return
    if not annotations.classes:
        raise UserError(
            "The annotations have no action.",
            "Expected actions, of one class at least, to learn and to score.",
            "Name them in a file, as configs/own_videos.yaml does: actloc show own_videos",
        )
    if not source.videos and not source.missing:
        subsets = sorted({video.subset for video in annotations.videos.values()})
        raise UserError(
            f"No video is in the subset {subset!r}.",
            f"The annotations have the subsets {', '.join(subsets) or 'none'}.",
            "Name one with dataset.training_subset, dataset.evaluation_subset or training.validation_subset.",
        )
    names = ", ".join(video.id for video in source.missing[:10]) + (", ..." if len(source.missing) > 10 else "")
    raise UserError(
        f"{config.path} has features of {len(source.videos)} of {len(source.videos) + len(source.missing)} videos "
        f"of the subset {subset!r}; missing: {names}.",
        "Expected features of every video.",
        f"{mend}; or go on without them: features.allow_missing=true",
    )
