"""Cuts a video into clips in one pass over its frames: where clips start, and how many there are."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.settings.choices import Align

Item = NDArray[Any]  # a frame (H, W, 3), or a network's vector of one


@dataclass(frozen=True)
class ClipSpacing:
    """How any video is cut into clips at even distances; `layout` gives the clips of one video."""

    fps: float | Literal["native"]
    """Frames per second at which frames are counted; native is each video's own rate."""
    decode_fps: float | Literal["native"] | None
    """The rate to which videos are resampled before frames are picked; None resamples directly to `fps`."""
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
        """The centre of the first clip, in frames."""
        return offset_frames(self.align, self.clip_frames)

    def layout(self, num_frames: int, vectors_per_clip: int = 1) -> "ClipLayout":
        """The clips of a video of `num_frames` frames, the same that `windower` cuts."""
        count, lead = self.num_clips(num_frames), self.clip_frames // 2 if self.align == "centred" else 0
        starts = [number * self.stride_frames - lead for number in range(count)]
        if self.align == "backpad" and starts:
            starts[-1] = num_frames - self.clip_frames
        return ClipLayout(tuple(starts), self.clip_frames, self.frame_interval, vectors_per_clip)

    def layout_from(self, first_frame: int, num_rows: int, vectors_per_clip: int = 1) -> "ClipLayout":
        """Clips at these distances from any frame on, as many as give `num_rows` rows."""
        starts = [first_frame + number * self.stride_frames for number in range(-(-num_rows // vectors_per_clip))]
        lead = self.clip_frames // 2 if self.align == "centred" else 0
        stored = (first_frame + lead) * vectors_per_clip // self.stride_frames
        return ClipLayout(tuple(starts), self.clip_frames, self.frame_interval, vectors_per_clip, stored)

    def spread_layout(self, num_frames: int, count: int) -> "ClipLayout":
        """`count` clips of one vector, evenly spread: the first begins with the video, the last one ends with it.

        They overlap where the video is shorter than all of them; a single one is in the middle. First frames are
        rounded, halves to even, as mmaction2 does for tests (ETAD). Neither `stride_frames` nor `align` counts.
        """
        last = num_frames - self.clip_frames
        places = [number * last / (count - 1) for number in range(count)] if count > 1 else [last // 2]
        return ClipLayout(tuple(round(place) for place in places), self.clip_frames, self.frame_interval, 1)

    def spread_frames(self, num_frames: int, count: int, rows_per_clip: int) -> "ClipLayout":
        """`count` clips one after the other, whose frames are the centres of as many equal parts of the video.

        Part i of n is from frame i / n to (i + 1) / n of `num_frames`; centres are rounded, halves to even (AdaTAD on
        ActivityNet). Of `clip_frames` and `frame_interval` only the number of frames counts.
        """
        seen = len(range(0, self.clip_frames, self.frame_interval))
        centres = [round((place + 0.5) * num_frames / (count * seen) - 0.5) for place in range(count * seen)]
        frames = tuple(tuple(centres[first : first + seen]) for first in range(0, len(centres), seen))
        firsts = tuple(clip[0] for clip in frames)
        return ClipLayout(firsts, self.clip_frames, self.frame_interval, rows_per_clip, frames=frames)

    def num_rows(self, num_frames: int, vectors_per_clip: int = 1) -> int:
        """The rows of a video of `num_frames`: all that its clips give, except those of `padded` beyond its end."""
        if self.align == "padded":
            return -(-num_frames * vectors_per_clip // self.stride_frames)
        return self.num_clips(num_frames) * vectors_per_clip

    def windower(self, picking: "Callable[[], Picking | None]" = lambda: None) -> "Windower":
        """Cuts frames into these clips; `frame_interval` is left to the caller.

        `picking` is called after the first frame.
        """
        return Windower(self.align, self.clip_frames, self.stride_frames, picking)


@dataclass(frozen=True)
class ClipLayout:
    """The clips of one video, and the rows of features that they give: it alone turns one into the other.

    Rows are counted over all clips: clip k gives the rows from k * vectors_per_clip on, in order of time.
    """

    first_frames: tuple[int, ...]
    """The first frame of every clip: any integers, so clips may overlap, or begin before the video does."""
    clip_frames: int
    """Frames that one clip covers."""
    frame_step: int
    """The encoder sees every n-th of them."""
    vectors_per_clip: int
    """The rows that each clip gives: one for each of the encoder's vectors, unless they are interpolated to others."""
    first_stored_row: int = 0
    """The row, among those of the video's own layout, that is nearest to row 0 from below: clips of a window that
    begins at another frame lie between stored rows, and both reading and writing round down."""
    frames: tuple[tuple[int, ...], ...] | None = None
    """The frames of every clip that the encoder sees, where these are not at equal distances; None: every
    `frame_step`-th from its first one on."""

    @property
    def num_rows(self) -> int:
        """Number of rows that all clips give."""
        return len(self.first_frames) * self.vectors_per_clip

    def clips_of(self, first_row: int, num_rows: int) -> range:
        """The numbers of the clips that give `num_rows` rows from `first_row` on."""
        per_clip = self.vectors_per_clip
        return range(first_row // per_clip, -(-(first_row + num_rows) // per_clip))

    def rows_of(self, clip: int) -> range:
        """The numbers of the rows that a clip gives."""
        return range(clip * self.vectors_per_clip, (clip + 1) * self.vectors_per_clip)

    def stored_row_of(self, clip: int) -> int:
        """The first of the rows in a store of the video's features that stand for this clip; may be negative."""
        return self.first_stored_row + clip * self.vectors_per_clip

    def frames_of(self, clip: int) -> Sequence[int]:
        """The frames of a clip that the encoder sees; those outside the video are for the reader to fill in."""
        first = self.first_frames[clip]
        return self.frames[clip] if self.frames else range(first, first + self.clip_frames, self.frame_step)

    def ended(self, last_frame: int) -> "ClipLayout":
        """The layout with `last_frame` in place of all later frames."""
        clips = [self.frames_of(clip) for clip in range(len(self.first_frames))]
        if max(frames[-1] for frames in clips) <= last_frame:
            return self
        return replace(self, frames=tuple(tuple(min(frame, last_frame) for frame in frames) for frames in clips))


def num_clips(num_frames: int, align: Align, clip_frames: int, stride_frames: int) -> int:
    """How many clips a video of `num_frames` gives; 0 if it is too short for one."""
    if align in ("centred", "padded"):
        return -(-num_frames // stride_frames)
    if num_frames < clip_frames:
        return 0
    beyond_first = num_frames - clip_frames
    return (-(-beyond_first // stride_frames) if align == "backpad" else beyond_first // stride_frames) + 1


def offset_frames(align: Align, clip_frames: int) -> float:
    """The centre of the first clip, in frames; only the last clip of `backpad` is off the grid that starts there."""
    return 0.0 if align == "centred" else clip_frames / 2


@dataclass(frozen=True)
class Picking:
    """How clips pick frames at `fps` from a video resampled to `decode_fps`, with the arithmetic of TSP's loader.

    Place k of the whole video begins at frame floor(k * step). Each clip counts its own places from its first frame,
    so where the step is not whole, most clips hold some frames that are not at places of the whole video.
    (Alwassel et al. 2021, arXiv 2011.11479, whose code computes places in float32 and their number in float64.)
    """

    decode_fps: float
    fps: float

    @property
    def step(self) -> float:
        """Frames from one place to the next."""
        return self.decode_fps / self.fps

    def frame(self, place: int) -> int:
        """Number of frames before a place."""
        return math.floor(np.float32(place) * np.float32(self.step))

    def num_places(self, num_frames: int) -> int:
        """Number of places in `num_frames` frames."""
        return int(num_frames * (self.fps / self.decode_fps))


def frames_of_clip(start: int, clip_frames: int, num_places: int, picking: Picking | None) -> list[int]:
    """Numbers of the frames of the clip whose first place is `start`; places beyond the ends repeat the first or last.

    Without picking, places are the frames themselves.
    """
    places = [min(max(place, 0), num_places - 1) for place in range(start, start + clip_frames)]
    if picking is None:
        return places
    first = picking.frame(places[0])
    return [first + picking.frame(place - places[0]) for place in places]


class Windower:
    """Cuts a stream of frames into clips (F, ...); keeps only as many frames as one clip spans.

    valid     clip i begins at frame i * stride, while the whole clip is inside
    padded    the same, while the clip begins inside; beyond the end, the last frame is repeated
    backpad   as valid, and one more clip that ends with the video if the last one does not
    centred   clip i begins at i * stride - clip // 2; the first and the last frame are repeated beyond the ends

    `picking` is called after the first frame; if it returns a Picking, frames arrive at its `decode_fps`, and lengths
    are counted at its `fps`.
    """

    def __init__(
        self,
        align: Align,
        clip_frames: int,
        stride_frames: int,
        picking: Callable[[], Picking | None] = lambda: None,
    ) -> None:
        self._align: Align = align
        self._length, self._stride = clip_frames, stride_frames
        self._ask = picking
        self._picking: Picking | None = None
        self._kept: deque[Item] = deque()
        self._lead = clip_frames // 2 if align == "centred" else 0
        self._seen = self._given = 0

    def add(self, frame: Item) -> Iterator[Item]:
        """The clips that this frame completes: at most one, unless frames arrive at a lower rate than is counted."""
        if self._seen == 0:
            self._picking = self._ask()
            # the last place may need one step beyond the clip, and floor may shift its first and last frame by one
            span = math.ceil((self._length + 1) * self._picking.step) + 2 if self._picking else self._length
            self._kept = deque(maxlen=span)
        self._kept.append(frame)
        self._seen += 1
        while self._given * self._stride - self._lead + self._length <= self.num_places:
            yield self._clip(self._given * self._stride - self._lead)
            self._given += 1

    @property
    def num_places(self) -> int:
        """Number of frames so far, in the unit of lengths."""
        return self._seen if self._picking is None else self._picking.num_places(self._seen)

    def end(self) -> Iterator[Item]:
        """The clips that reach beyond the last frame; raises VideoError `too_short` if the video has no clip at all."""
        expected = num_clips(self.num_places, self._align, self._length, self._stride)
        if expected == 0:
            detail = "the video is shorter than one clip"
            raise VideoError("too_short", detail, f"{self._length} frames", f"{self.num_places} frames")
        for number in range(self._given, expected):
            is_last_whole = self._align == "backpad"
            yield self._clip(self.num_places - self._length if is_last_whole else number * self._stride - self._lead)

    def _clip(self, start: int) -> Item:
        """The clip whose first place is `start`; places beyond the ends repeat the first or last frame."""
        places = frames_of_clip(start, self._length, self.num_places, self._picking)
        gone = self._seen - len(self._kept)
        assert gone <= places[0] <= places[-1] < self._seen, f"{places} of frames {gone} to {self._seen}"
        return np.stack([self._kept[place - gone] for place in places])
