"""Clips of a video out of one pass over its frames: where they start, how many there are (spec: features 1)."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError

Align = Literal["valid", "backpad", "centred"]
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
    """The clips (F, ...) of frames that come one by one; only the last `clip_frames` frames are kept.

    Raises VideoError `too_short` at the end where there was no clip.
    """
    ring: deque[Item] = deque(maxlen=clip_frames)
    lead = clip_frames // 2 if align == "centred" else 0
    seen = given = 0
    for frame in frames:
        if seen == 0:
            ring.extend([frame] * lead)  # what lies before the first frame is the first frame
        ring.append(frame)
        seen += 1
        if seen + lead == given * stride_frames + clip_frames:
            yield np.stack(ring)
            given += 1
    yield from _last_clips(ring, seen, given, align, clip_frames, stride_frames)


def _last_clips(
    ring: deque[Item], seen: int, given: int, align: Align, clip_frames: int, stride_frames: int
) -> Iterator[Item]:
    expected = num_clips(seen, align, clip_frames, stride_frames)
    if expected == 0:
        raise VideoError("too_short", "the video is shorter than one clip", f"{clip_frames} frames", f"{seen} frames")
    end = seen + (clip_frames // 2 if align == "centred" else 0)
    for start in range(given * stride_frames, expected * stride_frames, stride_frames):
        if align == "centred":  # what lies beyond the last frame is the last frame
            ring.extend([ring[-1]] * (start + clip_frames - end))
            end = start + clip_frames
        yield np.stack(ring)
