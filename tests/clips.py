"""Which clips a video has, written down in the plainest way, to compare the streaming one with."""

from collections.abc import Iterable, Iterator
from typing import Any

from actloc.settings.choices import Align
from actloc.video.windows import ClipSpacing, Item, Windower, num_clips


def spacing(**settings: Any) -> ClipSpacing:
    """Short clips at 15 frames per second, with other settings where they are given."""
    usual = {"fps": 15.0, "decode_fps": None, "clip_frames": 4, "frame_interval": 1, "stride_frames": 2}
    return ClipSpacing(**{**usual, "align": "valid", **settings})


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


def clips(frames: Iterable[Item], align: Align, clip_frames: int, stride_frames: int) -> Iterator[Item]:
    """The clips (F, ...) of all frames; raises VideoError `too_short` at the end where there was no clip."""
    windower = Windower(align, clip_frames, stride_frames)
    for frame in frames:
        yield from windower.add(frame)
    yield from windower.end()
