"""Clips of a video out of one pass over its frames: where they start, how many there are (spec: features 1)."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.settings.choices import Align

Item = NDArray[Any]  # a frame (H, W, 3), or what a network made of one


def num_clips(num_frames: int, align: Align, clip_frames: int, stride_frames: int) -> int:
    """How many clips a video of `num_frames` gives; 0 if it is too short for one."""
    if align == "centred":
        return -(-num_frames // stride_frames)
    if num_frames < clip_frames:
        return 0
    beyond_first = num_frames - clip_frames
    return (-(-beyond_first // stride_frames) if align == "backpad" else beyond_first // stride_frames) + 1


def clip_starts(num_frames: int, align: Align, clip_frames: int, stride_frames: int) -> list[int]:
    """The first frame of each clip.

    valid     i * stride, while the whole clip is inside
    backpad   the same, and one more clip that ends with the video if the last one does not
    centred   i * stride - clip // 2; frames before 0 repeat the first frame, frames beyond the end the last
    """
    starts = range(num_clips(num_frames, align, clip_frames, stride_frames))
    if align == "centred":
        return [i * stride_frames - clip_frames // 2 for i in starts]
    return [min(i * stride_frames, num_frames - clip_frames) for i in starts]


def offset_frames(align: Align, clip_frames: int) -> float:
    """The centre of the first clip, in frames; the last clip of `backpad` alone is off the grid this begins."""
    return 0.0 if align == "centred" else clip_frames / 2


def clips(frames: Iterable[Item], align: Align, clip_frames: int, stride_frames: int) -> Iterator[Item]:
    """The clips (F, ...) of all frames; raises VideoError `too_short` at the end where there was no clip."""
    windower = Windower(align, clip_frames, stride_frames)
    for frame in frames:
        yield from windower.add(frame)
    yield from windower.end()


class Windower:
    """Cuts frames that come one by one into clips (F, ...); keeps the last `clip_frames` frames and no more."""

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
