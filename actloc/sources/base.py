"""Sources of features: detectors and the trainer see samples and batches, not files or encoders."""

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo, Annotations, without_duplicates
from actloc.encoders.base import EncoderConfig
from actloc.end_to_end.bank import Bank
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError, VideoError
from actloc.ops.roi_align import resize_by_roi_align
from actloc.ops.windows import WindowRules, covering_windows, resize, resized_grid, training_window, window_of
from actloc.settings.choices import Align, Dtype
from actloc.settings.parts import Chosen
from actloc.settings.sections import Fraction, MachineSettings, Part, Shapes
from actloc.store.grid_check import check_present
from actloc.structures import FIRST_VISIT, Batch, Grid, Payload, Sample, Targets, Visit
from actloc.video.windows import ClipSpacing


class SourceConfig(Part):
    """The time grid of the features, and the windows that training uses."""

    shapes = "detections"

    trains_encoder: ClassVar[bool] = False
    """Whether the encoder runs in every step, where it can learn; otherwise its features were stored before."""

    path: Annotated[Path, Shapes("nothing")]
    """The folder of the feature store."""
    encoder: Annotated[EncoderConfig | None, Chosen("encoders")] = None
    """The network that turns clips into features; null: the features were made elsewhere."""
    fps: Annotated[PositiveFloat | Literal["native"], Shapes("features")]
    """Frame rate that videos are resampled to, and that frames are counted in; native: each video's own rate."""
    decode_fps: Annotated[PositiveFloat | Literal["native"] | None, Shapes("features")] = None
    """Resample to this rate first, then pick frames for `fps`, as TSP does: every n-th frame of the
    video or, where n is not whole, anew from each clip's first frame. null: resample to `fps` directly."""
    clip_frames: Annotated[PositiveInt, Shapes("features")]
    """Frames that one feature covers."""
    frame_interval: Annotated[PositiveInt, Shapes("features")] = 1
    """Use every n-th frame of a clip."""
    stride_frames: Annotated[PositiveInt, Shapes("features")]
    """Frames from one feature to the next."""
    align: Annotated[Align, Shapes("features")] = "valid"
    """valid: only clips inside the video; backpad: one more that ends with it; centred: a clip around every stride;
    padded: clips until the video is covered, the last one with frames beyond its end."""
    step_time: Literal["centre", "start"] = "centre"
    """The moment of a step in the video: the centre of its frames, or their start (TALLFormer)."""
    dtype: Annotated[Dtype, Shapes("features")] = "float32"
    """Number format of stored features."""
    max_steps: PositiveInt = 2304
    """Steps of the longest training window; longer videos are cropped at random."""
    crop_ratio: tuple[Fraction, Fraction] | None = (0.9, 1.0)
    """Crop shorter videos at random to a fraction between these; null: keep them whole."""
    min_kept: Fraction = 0.5
    """Keep an action in a window if at least this fraction of its length is inside."""
    min_filled: Fraction | None = None
    """Keep it as well if it fills at least this fraction of the window (TALLFormer); null: do not."""
    empty_windows: bool = False
    """Take windows wherever they fall, even without actions (TALLFormer), instead of searching for one with an action.
    """
    training_overlap: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, Shapes("weights")] = None
    """Train on all windows of `max_steps` that cover a video and have an action, each once in an epoch; neighbours
    share this part of a window (OpenTAD on THUMOS14); it needs crop_ratio=null. null: in an epoch, one window of each
    video at a random place."""
    resize_to: PositiveInt | None = None
    """Give each video this many steps (ActivityNet); null: one for each feature."""
    resize_by: Literal["interpolation", "roi_align", "clips", "frames"] = "interpolation"
    """How: interpolate between the features, or take the mean of those around each new step (ETAD on stored features);
    clips: encode `resize_to` clips, evenly spread from the first frame to the last, in place of those at
    `stride_frames` (ETAD with its encoder); frames: the same of single frames, which follow each other in clips of
    `steps_per_clip` steps (AdaTAD)."""
    past_end: Literal["keep", "clip"] = "keep"
    """Training actions beyond the last feature: keep them, or clip them there (ActivityNet)."""
    drop_duplicates: bool = False
    """Drop actions that repeat one of the same class within 1 ms (ActivityNet)."""
    downsample: PositiveInt = 1
    """Use every n-th feature."""
    allow_missing: Annotated[bool, Shapes("nothing")] = False
    """Continue without the videos that have no features; they are listed, and count as missed in evaluation."""
    allow_misfits: Annotated[bool, Shapes("nothing")] = False
    """Continue if the features of a few videos do not fit their durations; if most do not, stop anyway."""
    tolerance_steps: Annotated[NonNegativeFloat, Shapes("nothing")] = 2.0
    """Steps by which a video's features may differ from its duration."""

    @property
    def spacing(self) -> ClipSpacing:
        """Which clips of a video the features are made of."""
        return ClipSpacing(
            self.fps, self.decode_fps, self.clip_frames, self.frame_interval, self.stride_frames, self.align
        )

    @property
    def window_rules(self) -> WindowRules:
        """How training windows are cut, in feature steps."""
        return WindowRules(self.max_steps, self.crop_ratio, self.min_kept, self.min_filled, self.empty_windows)

    def to_grid(self, raw: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Features (C, T') as detectors see them, and their time grid, from rows (T, C) on `grid`."""
        if self.resize_to is None:
            sparser = replace(grid, stride_frames=grid.stride_frames * self.downsample)
            return raw[:: self.downsample].T.contiguous(), sparser
        # a row is for its part of the clip, if each clip gives several
        row_frames = self.clip_frames * grid.stride_frames / self.stride_frames
        return self.resized(raw), resized_grid(len(raw), grid, row_frames, self.resize_to)

    def resized(self, raw: Tensor) -> Tensor:
        """Features (C, T'), of `resize_to` steps if that is set, from rows (T, C)."""
        features = raw.T.contiguous()
        if self.resize_to is None:
            return features
        by = resize if self.resize_by == "interpolation" else resize_by_roi_align
        return by(features, self.resize_to)

    @model_validator(mode="after")
    def _clips_have_the_encoders_frames(self) -> Self:
        if self.encoder is None:
            return self
        exact, multiple = self.encoder.exact_frames, self.encoder.clip_multiple
        needed = (exact or multiple) * self.frame_interval
        if self.clip_frames == needed or (exact is None and self.clip_frames % needed == 0):
            return self
        if exact is None:
            expected, taken = f"a multiple of {needed}", f"{multiple} frames, or of a multiple of them"
        else:
            expected, taken = f"clip_frames {needed}", f"{exact} frames"
            if self.clip_frames % exact == 0:
                expected += f", or frame_interval {self.clip_frames // exact}"
        raise ValueError(
            f"clip_frames: found {self.clip_frames} with frame_interval {self.frame_interval}, expected {expected}: "
            f"with these settings the encoder {self.encoder.name} takes clips of {taken}"
        )

    @model_validator(mode="after")
    def _resize_by_has_an_effect(self) -> Self:
        if self.resize_by == "interpolation":
            return self
        if self.resize_to is None:
            raise ValueError(f"resize_by: found {self.resize_by}, which has no effect because resize_to is null")
        if self.trains_encoder != (self.resize_by in ("clips", "frames")):
            expected, reason = "interpolation or roi_align", "reads stored features"
            if self.trains_encoder:
                expected, reason = "interpolation, clips or frames", "encodes clips"
            raise ValueError(
                f"resize_by: found {self.resize_by}, expected {expected}, because features.name={self.name} {reason}"
            )
        return self

    @model_validator(mode="after")
    def _encoder_settings_have_an_effect(self) -> Self:
        of_training = "trainable", "train_norms", "rate_factor", "weight_decay"
        for name in () if self.encoder is None or self.trains_encoder else of_training:
            value = getattr(self.encoder, name)
            if value != EncoderConfig.model_fields[name].default:
                raise ValueError(
                    f"encoder.{name}: found {value}, which has no effect with features.name={self.name}; an encoder is "
                    "trained with features.name=encoded"
                )
        return self

    @model_validator(mode="after")
    def _stored_features_are_of_one_clip(self) -> Self:
        if self.encoder is not None and self.encoder.mixes_clips and not self.trains_encoder:
            raise ValueError(
                f"encoder: found {self.encoder.name}, which mixes the clips of a window with these settings, expected "
                "one that encodes each clip on its own, as features are stored; or set features.name=encoded"
            )
        return self

    @model_validator(mode="after")
    def _crop_is_a_range(self) -> Self:
        if self.crop_ratio is not None and not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(
                f"crop_ratio: found {list(self.crop_ratio)}, expected two fractions above 0, the smaller first"
            )
        return self

    @model_validator(mode="after")
    def _covering_windows_are_not_cropped(self) -> Self:
        if self.training_overlap is not None and self.trains_encoder:
            raise ValueError(f"training_overlap: features.name={self.name} takes windows at random; set it to null")
        if self.training_overlap is not None and self.crop_ratio is not None:
            raise ValueError("crop_ratio: has no effect with training_overlap; set features.crop_ratio=null")
        return self

    window_steps: Annotated[PositiveInt | None, Shapes("results")] = None
    """Detect in windows of this many steps in longer videos, whose detections are then merged; null: whole videos."""
    window_overlap: Annotated[float, Field(ge=0, lt=1), Shapes("results")] = 0.5
    """Share of a window that the next one covers too."""
    last_window: Annotated[Literal["whole", "short"], Shapes("results")] = "whole"
    """whole: the last window ends with the video, and shares more with the one before; short: it is cut there."""

    def live_encoder(
        self, device: torch.device, machine: MachineSettings, precision: str, weights: Mapping[str, Tensor] | None
    ) -> LiveEncoder | None:
        """The encoder that makes the features in every step, with these `weights`, by name, or with its own ones.

        None for features that were made before.
        """
        return None

    @abstractmethod
    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> "Source":
        """The source of one subset; raises UserError if features are missing or do not fit."""

    def of_file(self, file: Path, live: LiveEncoder) -> "Source":
        """The source of one video without annotations, for `predict`, of a source whose encoder makes the features.

        Raises VideoError.
        """
        raise NotImplementedError(f"{self.name} does not encode videos")

    @property
    def bank_store(self) -> Path | None:
        """The feature store that the memory bank of a run starts from; None where there is no bank."""
        return None

    def without_features(self, annotations: Annotations) -> list[str]:
        """Videos without features, which `prepare` reports; none if features are made later."""
        return []

    @classmethod
    @abstractmethod
    def small(cls, folder: Path, annotations: Annotations) -> Self:
        """Writes random features of these videos to `folder`; returns the settings to read them, for contract tests."""


class Source(ABC):
    """The features and actions of one subset's videos."""

    videos: list[AnnotatedVideo]
    """The videos with features, in id order."""
    missing: list[AnnotatedVideo]
    """The videos without features, which are left out because the settings allow it."""
    in_channels: int
    encoder_weights_sha256: str | None
    """The weights that made the features; None if they are not recorded or the encoder has none. Of an encoder that
    learns, those that it started from."""
    live: LiveEncoder | None = None
    """The encoder that makes the features when they are asked for; None for features that were made before."""
    bank: Bank | None = None
    """In training, the features of the clips that a step does not encode, if the settings ask for a bank."""

    def __init__(self, config: SourceConfig, annotations: Annotations) -> None:
        self.config = config
        self._label_number = {name: number for number, name in enumerate(annotations.classes)}

    @abstractmethod
    def evaluation_sample(self, index: int) -> Sample:
        """All of video `index`."""

    def evaluation_samples(self, index: int) -> list[Sample]:
        """All of video `index`, in one window or in several that overlap."""
        whole, length = self.evaluation_sample(index), self.config.window_steps
        if length is None or whole.num_steps <= length:
            return [whole]
        overlap, last_is_whole = self.config.window_overlap, self.config.last_window == "whole"
        windows = covering_windows(whole.num_steps, length, overlap, last_is_whole=last_is_whole)
        return [whole.part(start, size, Targets.none()) for start, size in windows]

    def keep_only(self, video_ids: Container[str]) -> None:
        """Leaves out the other videos, before any sample is taken."""
        self.missing += [video for video in self.videos if video.id not in video_ids]
        self.videos = [video for video in self.videos if video.id in video_ids]

    def features(self, batch: Batch, num_steps: int, device: torch.device) -> Tensor:
        """Features (B, C, num_steps) of the samples, zero after the end of each."""
        return batch.padded(num_steps, device)[0]

    def num_learning(self, num_clips: int) -> int:
        """How many of a window's clips an encoder learns from; none where features are stored."""
        return 0

    def backward(self) -> None:
        """Passes the gradient of the last batch's features on to the encoder, if it learns."""
        if self.live is not None:
            self.live.backward()

    @property
    def num_training_samples(self) -> int:
        """How many training windows an epoch has: one of each video, or all that cover the videos."""
        return len(self.videos) if self.config.training_overlap is None else len(self._covering)

    @functools.cached_property
    def _covering(self) -> list[tuple[int, int, int]]:
        """Video, first step and length of all training windows that cover the videos; reads every video once.

        Raises UserError if none of them has an action.
        """
        config, overlap, found = self.config, self.config.training_overlap, []
        assert overlap is not None
        for number in range(len(self.videos)):
            whole = self.evaluation_sample(number)
            for start, length in covering_windows(whole.num_steps, config.max_steps, overlap, last_is_whole=True):
                if config.empty_windows or len(self._window_of(whole, start, length).targets.labels):
                    found.append((number, start, length))
        if not found:
            raise UserError(
                "No training window has an action.",
                f"Expected actions of which windows of {config.max_steps} steps keep {config.min_kept:g} or more.",
                "Raise features.max_steps, lower features.min_kept, or set features.empty_windows=true",
            )
        return found

    def _window_of(self, whole: Sample, start: int, length: int) -> Sample:
        clips_past_end = self.config.past_end == "clip"
        return window_of(whole, start, length, clips_past_end=clips_past_end, rules=self.config.window_rules)

    def training_sample(self, index: int, generator: random.Random, visit: Visit = FIRST_VISIT) -> Sample:
        """Training window `index` of an epoch; only `generator` and `visit` are random.

        That is one of video `index`, cropped at random; with `training_overlap`, one of those that cover the videos.
        """
        config = self.config
        if config.training_overlap is not None:
            number, start, length = self._covering[index]
            return self._window_of(self.evaluation_sample(number), start, length)
        clips_past_end = config.past_end == "clip"
        return training_window(
            self.evaluation_sample(index), generator, clips_past_end=clips_past_end, rules=config.window_rules
        )

    def longest_sample(self, index: int) -> Sample:
        """The longest training window of video `index`: the one that needs the most memory."""
        whole, rules = self.evaluation_sample(index), replace(self.config.window_rules, crop_ratio=None)
        clips_past_end = self.config.past_end == "clip"
        return training_window(whole, random.Random(0), clips_past_end=clips_past_end, rules=rules)

    def _require_features(self, annotations: Annotations, subset: str, fix: str, has: str = "") -> None:
        """Raises UserError if videos are missing that the settings require; `fix` says how to get them."""
        config = self.config
        has = has or f"{config.path} has features of"
        check_present(self.videos, self.missing, annotations, subset, has, fix, allow_missing=config.allow_missing)

    def leave_out(self, video: AnnotatedVideo, error: VideoError) -> None:
        """Called for a video whose features cannot be made; raises UserError unless the settings allow that."""
        raise error

    def _sample(self, video: AnnotatedVideo, features: Payload, grid: Grid) -> Sample:
        """All of a video: its features (C, T) on `grid`, or what becomes them, and its actions in steps."""
        spacing = self.config.spacing
        if self.config.step_time == "start":
            grid = replace(grid, offset_frames=spacing.offset_frames - spacing.clip_frames / 2)
        actions = without_duplicates(video.actions) if self.config.drop_duplicates else video.actions
        if not actions:
            return Sample(video.id, features, Targets.none(), grid)
        segments = torch.tensor([[action.start_s, action.end_s] for action in actions], dtype=torch.float32)
        labels = torch.tensor([self._label_number[action.label] for action in actions])
        return Sample(video.id, features, Targets(grid.steps(segments), labels), grid)


class VideoInMemory(Source):
    """One video without annotations, whose features (C, T) are at hand."""

    def __init__(self, config: SourceConfig, video: AnnotatedVideo, features: Tensor, grid: Grid) -> None:
        super().__init__(config, Annotations((), {video.id: video}))
        self.videos, self.missing = [video], []
        self.in_channels, self.encoder_weights_sha256 = features.shape[0], None
        self._whole = self._sample(video, features, grid)

    def evaluation_sample(self, index: int) -> Sample:
        """All of the video."""
        return self._whole
