"""Clips of a video out of one pass over its frames: where they start, how many there are (spec: features 1)."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.settings.choices import Align

Item = NDArray[Any]  # a frame (H, W, 3), or what a network made of one


@dataclass(frozen=True)
class ClipLayout:
    """Which frames of a video make up which clips: one clip gives one row of features."""

    fps: float | Literal["native"]
    """Frames per second at which frames are counted; native is each video's own rate."""
    decode_fps: float | Literal["native"] | None
    """The rate to which videos are resampled before frames are picked; None resamples to `fps` at once."""
    clip_frames: int
    """Frames that one clip covers."""
    frame_interval: int
    """The encoder sees every n-th frame of a clip."""
    stride_frames: int
    """Frames from one clip to the next."""
    align: Align

    def num_clips(self, num_frames: int) -> int:
        """How many clips a video of `num_frames` gives; 0 if it is too short for one."""
        return num_clips(num_frames, self.align, self.clip_frames, self.stride_frames)

    @property
    def offset_frames(self) -> float:
        """The centre of the first clip."""
        return offset_frames(self.align, self.clip_frames)

    def windower(self) -> "Windower":
        """What cuts frames into these clips; `frame_interval` is left to the caller."""
        return Windower(self.align, self.clip_frames, self.stride_frames)


def num_clips(num_frames: int, align: Align, clip_frames: int, stride_frames: int) -> int:
    """How many clips a video of `num_frames` gives; 0 if it is too short for one."""
    if align == "centred":
        return -(-num_frames // stride_frames)
    if num_frames < clip_frames:
        return 0
    beyond_first = num_frames - clip_frames
    return (-(-beyond_first // stride_frames) if align == "backpad" else beyond_first // stride_frames) + 1


def offset_frames(align: Align, clip_frames: int) -> float:
    """The centre of the first clip, in frames; the last clip of `backpad` alone is off the grid this begins."""
    return 0.0 if align == "centred" else clip_frames / 2


class Windower:
    """Cuts frames that come one by one into clips (F, ...); keeps the last `clip_frames` frames and no more.

    valid     clip i begins at frame i * stride, while the whole clip is inside
    backpad   the same, and one more clip that ends with the video if the last one does not
    centred   clip i begins at i * stride - clip // 2; before frame 0 is the first frame, after the end the last
    """

    def __init__(self, align: Align, clip_frames: int, stride_frames: int) -> None:
        self._align: Align = align
        self._length, self._stride = clip_frames, stride_frames
        self._ring: deque[Item] = deque(maxlen=clip_frames)
        self._lead = clip_frames // 2 if align == "centred" else 0
        self._seen = self._given = 0

    def add(self, frame: Item) -> Iterator[Item]:
        """The clip that ends with this frame, if there is one."""
        if self._seen == 0:
            self._ring.extend([frame] * self._lead)  # what lies before the first frame is the first frame
        self._ring.append(frame)
        self._seen += 1
        if self._seen + self._lead == self._given * self._stride + self._length:
            self._given += 1
            yield np.stack(self._ring)

    def end(self) -> Iterator[Item]:
        """The clips that reach beyond the last frame; raises VideoError `too_short` if there was none at all."""
        expected = num_clips(self._seen, self._align, self._length, self._stride)
        if expected == 0:
            detail = "the video is shorter than one clip"
            raise VideoError("too_short", detail, f"{self._length} frames", f"{self._seen} frames")
        end = self._seen + self._lead
        for start in range(self._given * self._stride, expected * self._stride, self._stride):
            if self._align == "centred":  # what lies beyond the last frame is the last frame
                self._ring.extend([self._ring[-1]] * (start + self._length - end))
                end = start + self._length
            yield np.stack(self._ring)
