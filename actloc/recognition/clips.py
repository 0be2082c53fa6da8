"""Labelled clips of videos, read for training and as the views of an evaluation.

What is classified is a labelled stretch of a video: all of a trimmed clip, or an action of an untrimmed video, which
needs no file of its own.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError, VideoError
from actloc.recognition.mirrored_labels import labels_after_mirroring
from actloc.recognition.sampling import Sampling
from actloc.structures import Grid, Sample, Targets, Visit
from actloc.video.augmentation import Mirror
from actloc.video.augmentation_settings import Augmentation
from actloc.video.clip_reader import ClipReader, VideoTimes
from actloc.video.frame_transforms import FrameStep
from actloc.video.left_out import LeftOutVideos

_WHOLE_S = 0.1
"""An action that begins and ends this close to the ends of its video fills it: durations are stated in several ways."""


@dataclass(frozen=True)
class LabelledClip:
    """A stretch of a video and the numbers of its classes, usually one."""

    video: AnnotatedVideo
    labels: tuple[int, ...]
    start_s: float = 0.0
    end_s: float | None = None
    """None where the clip is the whole video."""

    @property
    def id(self) -> str:
        """The video's id, with the times of a part of it."""
        return self.video.id if self.end_s is None else f"{self.video.id} {self.start_s:.6f}-{self.end_s:.6f} s"

    def frames(self, times: VideoTimes) -> tuple[int, int]:
        """The number of its first frame in the video, and how many it has: at least one."""
        if self.end_s is None:
            return 0, times.num_frames
        first = min(round(self.start_s * times.fps), times.num_frames - 1)
        return first, max(min(round(self.end_s * times.fps), times.num_frames) - first, 1)


def labelled_clips(annotations: Annotations, subset: str) -> list[LabelledClip]:
    """The clips of a subset in the order of videos and times; stretches with several labels are one clip."""
    number = {name: place for place, name in enumerate(annotations.classes)}
    clips = []
    for video in annotations.of_subset(subset):
        labels: dict[tuple[float, float], list[int]] = defaultdict(list)
        for action in video.actions:
            labels[action.start_s, action.end_s].append(number[action.label])
        for (start_s, end_s), numbers in sorted(labels.items()):
            of_all = start_s <= _WHOLE_S and video.duration_s is not None and end_s >= video.duration_s - _WHOLE_S
            place = (0.0, None) if of_all and len(labels) == 1 else (start_s, end_s)
            clips.append(LabelledClip(video, tuple(dict.fromkeys(numbers)), *place))
    return clips


def required_clips(annotations: Annotations, subset: str, setting: str) -> list[LabelledClip]:
    """The clips of the subset that a setting names; raises UserError if there is none."""
    clips = labelled_clips(annotations, subset)
    if not clips:
        others = dict.fromkeys(video.subset for video in annotations.videos.values() if video.actions)
        raise UserError(
            f"The subset {subset!r} has no labelled clips.",
            f"Expected videos with a class, or with actions; those that have some: {console.first_ten(others)}.",
            f"Name one of these: {setting}=NAME",
        )
    return clips


class ClipSource:
    """Reads clips by a sampling rule, with the encoder's steps for each frame. Several threads may read at once."""

    def __init__(self, reader: ClipReader, sampling: Sampling, steps: Sequence[FrameStep]) -> None:
        self.reader = reader
        self.sampling = sampling
        self.steps = tuple(steps)
        self._times: dict[Path, VideoTimes] = {}

    def times(self, video: AnnotatedVideo) -> VideoTimes:
        """How many frames there are, at which rate; raises VideoError."""
        if video.file is None:
            raise VideoError("not_a_file", "the annotations name no file", "a video", "none")
        if video.file not in self._times:
            self._times[video.file] = self.reader.times(video.file)
        return self._times[video.file]

    def drawn(self, clip: LabelledClip, generator: random.Random, steps: Sequence[FrameStep]) -> NDArray[Any]:
        """One training clip (F, H, W, c) with these steps; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        return self._read(clip.video, [first + one for one in self.sampling.training(count, generator)], steps)

    def middle(self, clip: LabelledClip) -> NDArray[Any]:
        """The one clip (F, H, W, c) of validation; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        return self._read(clip.video, [first + one for one in self.sampling.validation(count)], self.steps)

    def spread(self, clip: LabelledClip, num_clips: int, steps: Sequence[FrameStep]) -> NDArray[Any]:
        """Clips (K, F, H, W, c) over the whole stretch, with these steps; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        chosen = self.sampling.test(count, num_clips)
        read = self._read(clip.video, [first + one for numbers in chosen for one in numbers], steps)
        return read.reshape(num_clips, -1, *read.shape[1:])

    def _read(self, video: AnnotatedVideo, frames: Sequence[int], steps: Sequence[FrameStep]) -> NDArray[Any]:
        assert video.file is not None, "its times were read"
        return self.reader.read_frames(video.file, frames, steps)


class TrainingClips:
    """The labelled clips of the training subset, drawn anew in every epoch."""

    def __init__(
        self,
        source: ClipSource,
        clips: Sequence[LabelledClip],
        classes: Sequence[str],
        augmentation: Augmentation,
        *,
        allow_missing: bool,
    ) -> None:
        self.source = source
        self.clips = list(clips)
        self._augmentation = augmentation
        self._videos = [clip.video for clip in self.clips]
        self._left_out = LeftOutVideos("clips.allow_missing", is_allowed=allow_missing)
        self._mirrored = labels_after_mirroring(classes)

    def sample(self, index: int, visit: Visit) -> Sample:
        """Clip `index` (c, F, H, W), uint8 or float32, as a window that one action of each of its classes fills.

        A video that cannot be decoded is replaced by the next one, if the settings allow missing videos.
        """

        def drawn(number: int) -> tuple[Sequence[FrameStep], Tensor]:
            generator = visit.generator(index)  # begins anew, whether or not those before are known to be left out
            steps = self._augmentation.drawn(self.source.steps, generator)
            return steps, torch.from_numpy(self.source.drawn(self.clips[number], generator, steps))

        number, (steps, frames) = self._left_out.first_readable(index, self._videos, drawn)
        clip, is_mirrored = self.clips[number], any(isinstance(step, Mirror) for step in steps)
        labels = [self._mirrored[label] if is_mirrored else label for label in clip.labels]
        segments = torch.tensor([[0.0, len(frames)]]).expand(len(labels), 2)
        grid = Grid(self.source.times(clip.video).fps, 1, 0)
        targets = Targets(segments, torch.tensor(labels))
        return Sample(clip.id, frames.permute(3, 0, 1, 2), targets, grid, is_replacement=number != index)
