"""What sources have in common: the samples that training and evaluation take from them."""

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Container
from dataclasses import replace

import torch
from torch import Tensor

from actloc.annotations import annotated_time
from actloc.annotations.model import AnnotatedVideo, Annotations, without_duplicates
from actloc.end_to_end.bank import Bank
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError, VideoError
from actloc.ops.windows import covering_windows, has_labelled_step, training_window, window_of
from actloc.sources.base import SourceConfig
from actloc.structures import FIRST_VISIT, Batch, Extent, Grid, Payload, Readable, Sample, Targets, Visit


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

    def detection_sample(self, index: int) -> Sample:
        """All of video `index`; the features of a long one may stay on disk until parts of them are asked for."""
        return self.evaluation_sample(index)

    def sample_to_cut(self, index: int) -> Sample:
        """As `detection_sample`, for a single window of the video: no more than that is read, where it can be."""
        return self.detection_sample(index)

    def extent(self, index: int) -> Extent | None:
        """Where the features of video `index` are; None where only reading them says so."""
        return None

    def evaluation_samples(self, index: int) -> list[Sample]:
        """All of video `index`, in one window or in several that overlap."""
        whole, length = self.detection_sample(index), self.config.window_steps
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
        """Video, first step and length of all training windows that cover the videos; reads every video once, but for
        long ones.

        Raises UserError if none of them has an action.
        """
        config, overlap, found = self.config, self.config.training_overlap, []
        assert overlap is not None
        for number in range(len(self.videos)):
            whole = self.sample_to_cut(number)
            for start, length in covering_windows(whole.num_steps, config.max_steps, overlap, last_is_whole=True):
                targets = self._window_of(whole, start, length).targets
                if len(targets.labels) or (config.empty_windows and has_labelled_step(targets, 0, length)):
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
            return _with_features(self._window_of(self.sample_to_cut(number), start, length))
        clips_past_end = config.past_end == "clip"
        return _with_features(
            training_window(
                self.sample_to_cut(index), generator, clips_past_end=clips_past_end, rules=config.window_rules
            )
        )

    def longest_sample(self, index: int) -> Sample:
        """The longest training window of video `index`: the one that needs the most memory."""
        whole, rules = self.sample_to_cut(index), replace(self.config.window_rules, crop_ratio=None)
        clips_past_end = self.config.past_end == "clip"
        return training_window(whole, random.Random(0), clips_past_end=clips_past_end, rules=rules)

    def leave_out(self, video: AnnotatedVideo, error: VideoError) -> None:
        """Called for a video whose features cannot be made; raises UserError unless the settings allow that."""
        raise error

    def _sample(self, video: AnnotatedVideo, features: Payload, grid: Grid) -> Sample:
        """All of a video: its features (C, T) on `grid`, or what becomes them, and its actions in steps."""
        spacing = self.config.spacing
        if self.config.step_time == "start":
            grid = replace(grid, offset_frames=spacing.offset_frames - spacing.clip_frames / 2)
        actions = without_duplicates(video.actions) if self.config.drop_duplicates else video.actions
        # in the numbers of this grid, which keep infinity as it is
        gaps = torch.tensor(annotated_time.gaps(video.annotated), dtype=torch.float32)
        unlabelled = grid.steps(gaps) if video.annotated else None
        if not actions:
            return Sample(video.id, features, replace(Targets.none(), unlabelled=unlabelled), grid)
        segments = torch.tensor([[action.start_s, action.end_s] for action in actions], dtype=torch.float32)
        labels = torch.tensor([self._label_number[action.label] for action in actions])
        return Sample(video.id, features, Targets(grid.steps(segments), labels, unlabelled), grid)


def _with_features(sample: Sample) -> Sample:
    """The sample with its features, which are read now if they are in a file: ahead of the step that needs them."""
    return replace(sample, payload=sample.features.contiguous()) if isinstance(sample.payload, Readable) else sample
