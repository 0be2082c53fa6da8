"""Labelled clips of videos, read for training and as the views of an evaluation.

What is classified is a labelled stretch of a video: all of a trimmed clip, or an action of an untrimmed video, which
needs no file of its own.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import VideoError
from actloc.recognition.sampling import Sampling
from actloc.video.clip_reader import ClipReader, VideoTimes
from actloc.video.frame_transforms import FrameStep

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
        return self.video.id if self.end_s is None else f"{self.video.id} {self.start_s:.2f}-{self.end_s:.2f} s"

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


class ClipSource:
    """Reads clips by a sampling rule, with the encoder's steps for each frame."""

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

    def drawn(self, clip: LabelledClip, visit_generator: Any, steps: Sequence[FrameStep]) -> NDArray[Any]:
        """One training clip (F, H, W, c) with these steps; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        frames = [first + number for number in self.sampling.training(count, visit_generator)]
        return self._read(clip.video, frames, steps)

    def middle(self, clip: LabelledClip) -> NDArray[Any]:
        """The one clip (1, F, H, W, c) of validation; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        frames = [first + number for number in self.sampling.validation(count)]
        return self._read(clip.video, frames, self.steps)[None]

    def spread(self, clip: LabelledClip, num_clips: int, steps: Sequence[FrameStep]) -> NDArray[Any]:
        """Clips (K, F, H, W, c) over the whole stretch, with these steps; raises VideoError."""
        first, count = clip.frames(self.times(clip.video))
        chosen = self.sampling.test(count, num_clips)
        frames = [first + number for numbers in chosen for number in numbers]
        read = self._read(clip.video, frames, steps)
        return read.reshape(num_clips, -1, *read.shape[1:])

    def _read(self, video: AnnotatedVideo, frames: Sequence[int], steps: Sequence[FrameStep]) -> NDArray[Any]:
        assert video.file is not None, "its times were read"
        return self.reader.read_frames(video.file, frames, steps)
