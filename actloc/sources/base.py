"""Sources of features: detectors and the trainer see samples and batches, not files or encoders."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import importlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.encoders.base import EncoderConfig
from actloc.ops.windows import WindowRules, resize, resized_grid
from actloc.settings.choices import Align, Dtype
from actloc.settings.parts import Chosen
from actloc.settings.sections import Fraction, MachineSettings, Part, Shapes
from actloc.store.grid_check import check_present
from actloc.store.on_disk import FeaturesOnDisk
from actloc.structures import Extent, Grid
from actloc.video.windows import ClipSpacing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from actloc.end_to_end.live_encoder import LiveEncoder
    from actloc.sources.base_source import Source
    from actloc.store.on_disk import ReadRows
    from actloc.structures import Payload


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
    window_margin: bool = True
    """Keep what an action has beyond the first and last step of a training window, as far as the clips of these steps
    reach; false: cut it at these steps (TriDet, DyFADet)."""
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
    def made_from_videos(self) -> bool:
        """Whether the features are made from videos by an encoder that the settings name."""
        return self.encoder is not None

    @property
    def spacing(self) -> ClipSpacing:
        """Which clips of a video the features are made of."""
        return ClipSpacing(
            self.fps, self.decode_fps, self.clip_frames, self.frame_interval, self.stride_frames, self.align
        )

    @property
    def window_rules(self) -> WindowRules:
        """How training windows are cut, in feature steps."""
        return WindowRules(
            self.max_steps, self.crop_ratio, self.min_kept, self.min_filled, self.empty_windows, self.window_margin
        )

    def to_grid(self, raw: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Features (C, T') as detectors see them, and their time grid, from rows (T, C) on `grid`."""
        seen = self.grid_seen(len(raw), grid)
        if self.resize_to is None:
            return raw[:: self.downsample].T.contiguous(), seen
        return self.resized(raw), seen

    def on_grid_unread(self, read: ReadRows, num_rows: int, channels: int, grid: Grid) -> tuple[Payload, Grid]:
        """`to_grid` of rows that are not read yet; resized ones are, since a step may be made of any of them."""
        if self.resize_to is not None:
            return self.to_grid(read(0, num_rows), grid)
        num_steps = math.ceil(num_rows / self.downsample)
        return FeaturesOnDisk(read, channels, num_steps, self.downsample), self.grid_seen(num_rows, grid)

    def grid_seen(self, num_rows: int, grid: Grid) -> Grid:
        """The time grid of the features that detectors see, from that of their rows."""
        if self.resize_to is None:
            return replace(grid, stride_frames=grid.stride_frames * self.downsample)
        # a row is for its part of the clip, if each clip gives several
        row_frames = self.clip_frames * grid.stride_frames / self.stride_frames
        return resized_grid(num_rows, grid, row_frames, self.resize_to)

    def extent(self, num_rows: int, grid: Grid) -> Extent:
        """Where the features of a video are, from the number of its rows and their time grid."""
        seen = self.grid_seen(num_rows, grid)
        end_s = (grid.offset_frames + (num_rows - 0.5) * grid.stride_frames) / grid.fps
        return Extent(end_s, seen.stride_frames / seen.fps)

    def resized(self, raw: Tensor) -> Tensor:
        """Features (C, T'), of `resize_to` steps if that is set, from rows (T, C)."""
        from actloc.ops.roi_align import resize_by_roi_align

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
    def build(self, annotations: Annotations, subset: str, live: LiveEncoder | None = None) -> Source:
        """The source of one subset; raises UserError if features are missing or do not fit."""

    def require_features(self, annotations: Annotations, subset: str) -> None:
        """Raises UserError if features of the subset are missing and required, before any are read; usually no-op."""

    def refuse_missing(
        self,
        present: Sequence[AnnotatedVideo],
        missing: Sequence[AnnotatedVideo],
        annotations: Annotations,
        subset: str,
        fix: str,
        has: str = "",
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Raises UserError if videos are missing that the settings require; `fix` says how to get them.

        `notes` say what is missing, by the video's id.
        """
        has = has or f"{self.path} has features of"
        check_present(present, missing, annotations, subset, has, fix, notes or {}, allow_missing=self.allow_missing)

    def of_file(self, file: Path, live: LiveEncoder) -> Source:
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


_OF_NETWORKS = ("Source",)


def __getattr__(name: str) -> Any:  # Any: whatever the module has
    # a part in one file imports its network's base from here too; torch is imported only then
    if name in _OF_NETWORKS:
        return getattr(importlib.import_module("actloc.sources.base_source"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
