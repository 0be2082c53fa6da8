"""Which frames of a clip a recognition network gets: the rules of TAM and of DualFormer, counted from 0.

A clip has `num_frames` frames, at least one. Every rule names a frame inside it, whatever its length.
"""

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

SamplingRule = Literal["dense", "uniform", "interval"]
SPAN_FRAMES = 64
"""Frames that a dense clip covers, however many of them it has."""


@dataclass(frozen=True)
class Sampling:
    """Chooses `frames` frames of a clip for training, for validation, and for several clips of a test.

    dense     at stride 64 // frames, wherever the clip has room for them; a shorter clip starts again from its
              beginning (TAM on Kinetics; Liu et al. 2021, arXiv 2005.06803, section 4.1)
    uniform   one from each of as many equal segments (TAM on Something-Something; Wang et al. 2016, arXiv 1608.00859)
    interval  every `interval`-th; a shorter clip starts again from its beginning (DualFormer; SampleFrames of
              mmaction2 0.x with its loop at the end)
    """

    rule: SamplingRule
    frames: int
    interval: int = 1
    """Of the rule `interval` alone."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no rule can use."""
        if self.frames < 1 or self.interval < 1:
            raise ValueError(f"found {self.frames} frames at interval {self.interval}, expected at least 1 of both")
        if self.rule == "dense" and self.frames > SPAN_FRAMES:
            raise ValueError(f"found {self.frames} frames, expected at most {SPAN_FRAMES} with the rule dense")
        if self.rule != "interval" and self.interval != 1:
            raise ValueError(f"found interval {self.interval}, which has no effect with the rule {self.rule}")

    def training(self, num_frames: int, generator: random.Random) -> list[int]:
        """The frames of one training sample; draws with `generator.randrange` alone."""
        if self.rule == "uniform":
            return self._drawn_of_segments(num_frames, generator)
        starts = self._num_starts(num_frames)
        if self.rule == "dense":
            starts -= 1  # TAM's draw leaves out its upper end, and so the last place
        start = generator.randrange(starts) if starts > 0 else 0
        return self._from(start, num_frames)

    def validation(self, num_frames: int) -> list[int]:
        """The frames of one clip in the middle."""
        if self.rule == "uniform" and num_frames <= self.frames:
            return [0] * self.frames  # TAM repeats the first frame also where there is exactly one for each segment
        return self.test(num_frames, 1)[0]

    def test(self, num_frames: int, num_clips: int) -> list[list[int]]:
        """The frames of each of `num_clips` clips over the whole video: TAM's dense-K or uniform-K, or DualFormer's."""
        if self.rule == "uniform":
            return self._spread_segments(num_frames, num_clips)
        starts = self._num_starts(num_frames)
        if self.rule == "interval":
            between = starts / num_clips
            places = [int(number * between + between / 2) if starts > 0 else 0 for number in range(num_clips)]
        elif num_clips == 1:
            places = [max(starts, 1) // 2]
        else:
            places = _spread(max(starts, 1) - 1, num_clips)
        return [self._from(place, num_frames) for place in places]

    @property
    def _stride(self) -> int:
        return SPAN_FRAMES // self.frames if self.rule == "dense" else self.interval

    def _num_starts(self, num_frames: int) -> int:
        """Where a clip may begin so that it ends inside, its last stride included; not positive in short videos."""
        return num_frames - self._stride * self.frames + 1

    def _from(self, start: int, num_frames: int) -> list[int]:
        return [(start + number * self._stride) % num_frames for number in range(self.frames)]

    def _drawn_of_segments(self, num_frames: int, generator: random.Random) -> list[int]:
        """One frame of each segment; the frames after the last whole segment are never drawn, as in TAM."""
        length = num_frames // self.frames
        if not length:
            return [0] * self.frames
        return [number * length + generator.randrange(length) for number in range(self.frames)]

    def _spread_segments(self, num_frames: int, num_clips: int) -> list[list[int]]:
        """Centres of the segments for one clip; from the first to the last frame of them for several."""
        length = num_frames / self.frames
        if num_clips == 1:
            return [[int(length / 2 + length * number) for number in range(self.frames)]]
        return [
            # in videos shorter than the clip the last start is not positive
            [int(start + length * number) % num_frames for number in range(self.frames)]
            for start in _spread(length - 1, num_clips)
        ]


def _spread(last: float, count: int) -> list[int]:
    """`count` places from 0 to `last`, cut towards zero; NumPy's own conversion rounds negative ones down."""
    return [int(place) for place in np.linspace(0, last, count)]
