"""The settings that `init` chooses, each with the numbers that it was chosen by."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actloc.annotations.model import AnnotatedVideo

CLIP_FRAMES = 2
"""Frames of a clip, and from one clip to the next: a step of the features."""
_USUAL_FPS, _ENCODED_PER_SECOND = 8.0, 60.0  # EfficientNet-Lite0 at 224 pixels on two cores: .github/BENCHMARKS.md
_SMALL_IS_FASTER, _MOST_HOURS = 5.0, 12.0
"""How much faster pictures of 112 pixels are encoded (5.8 times, measured on one core of an AMD EPYC), and from how
many hours on they are taken where there is no GPU."""
SMALL_PICTURES = {"short_side": 128, "crop": 112}
"""Settings of EfficientNet-Lite0 for pictures of half the usual side; their size is recorded for `actloc show`."""
_SLOW_FPS = (2.0, 4.0)
_STEPS_OF_SHORT = 8
"""Steps that a short action has at a slower rate than the usual one."""
_FIRST_RANGE, _FEWEST_LEVELS, _MOST_LEVELS = 4, 3, 8  # official: 4 steps on the finest level, 6 to 8 levels
_MOST_STEPS = 2304  # of ActionFormer on THUMOS14
_LONGEST_VIDEO_S = 4 * 3600
_BATCH = 2
_CHANNELS = ((50, 64), (500, 128), (2000, 256))
"""Channels of the detector up to a number of actions; the demo learns 87 actions with 128."""
_MOST_CHANNELS = 512
_STEPS_TO_LEARN = 250
"""Optimizer steps after warm-up in which the demo learns its five classes."""


@dataclass(frozen=True)
class Seen:
    """What was found in the data and on the machine."""

    actions_s: Sequence[float]
    """The lengths of all actions, sorted."""
    classes: Counter[str]
    videos_s: Sequence[float]
    """The lengths of the videos that can be read, sorted."""
    slowest_fps: float
    num_videos: int
    num_training: int
    """Videos to learn from."""
    subsets: Counter[str]
    """Videos of each subset that the annotations state."""
    has_gpu: bool
    cores: int

    @classmethod
    def of(cls, annotated: Sequence[AnnotatedVideo], every: Sequence[AnnotatedVideo], training: set[str]) -> "Seen":
        """`annotated` are the videos that the annotations name, `training` what they call the training subset."""
        actions = [action for video in annotated for action in video.actions]
        subsets = Counter(video.subset for video in annotated if video.subset)
        to_learn = sum(count for name, count in subsets.items() if name.lower() in training)
        lengths = sorted(video.duration_s for video in every if video.duration_s)
        return cls(
            sorted(action.end_s - action.start_s for action in actions),
            Counter(action.label for action in actions),
            lengths,
            min((video.fps for video in every if video.fps), default=_USUAL_FPS),
            len(every),
            to_learn or max(1, round(0.8 * len(every))),  # about one in five is held out
            subsets,
            has_gpu=any(Path("/dev").glob("nvidia[0-9]*")),
            cores=os.cpu_count() or 1,
        )

    def action_s(self, share: float) -> float:
        """The length that this share of the actions does not exceed."""
        return self.actions_s[min(int(share * len(self.actions_s)), len(self.actions_s) - 1)]

    @property
    def total_s(self) -> float:
        """The length of all videos."""
        return sum(self.videos_s)

    @property
    def longest_s(self) -> float:
        """The length of the longest video; of the longest action where no video can be read."""
        return self.videos_s[-1] if self.videos_s else self.actions_s[-1]


@dataclass(frozen=True)
class Choices:
    """The settings that depend on the data."""

    fps: float
    has_small_pictures: bool
    num_levels: int
    max_steps: int
    buffer_factor: int
    dim: int
    epochs: int
    initial_normaliser: int

    @classmethod
    def of(cls, seen: Seen) -> "Choices":
        """The rate by the short actions, the levels by the long ones, the rest by how much there is."""
        short_s = seen.action_s(0.1)
        wanted = next((fps for fps in _SLOW_FPS if short_s * fps / CLIP_FRAMES >= _STEPS_OF_SHORT), _USUAL_FPS)
        if short_s < 0.5:  # less than two steps at the usual rate
            wanted = 16.0 if short_s >= 0.25 else 32.0
        fps = float(f"{min(wanted, seen.slowest_fps):.6g}")
        step_s = CLIP_FRAMES / fps
        half = seen.action_s(0.99) / step_s / 2  # from the centre of a long action to its ends
        levels = min(max(_FEWEST_LEVELS, math.ceil(math.log2(max(half, 1)))), _MOST_LEVELS)
        longest = seen.longest_s / step_s
        divisor = 2 ** (levels - 1)
        max_steps = min(math.ceil(longest / divisor), max(_MOST_STEPS // divisor, 1)) * divisor
        buffer_factor = max(6, math.ceil(max(_LONGEST_VIDEO_S, 2 * seen.longest_s) / step_s / max_steps))
        num_actions = len(seen.actions_s)
        steps_in_epoch = math.ceil(seen.num_training / _BATCH)
        per_window = num_actions / max(seen.num_videos, 1) * min(1.0, max_steps / longest)
        hours = _hours(seen, fps)
        return cls(
            fps,
            not seen.has_gpu and hours > _MOST_HOURS,
            levels,
            max_steps,
            buffer_factor,
            next((channels for most, channels in _CHANNELS if num_actions <= most), _MOST_CHANNELS),
            # as for the demo and, with hundreds of videos, THUMOS14; with thousands, ActivityNet and Ego4D
            15 if steps_in_epoch >= 1000 else min(100, max(30, math.ceil(_STEPS_TO_LEARN / steps_in_epoch))),
            min(100, max(10, 10 * round(_BATCH * 4 * per_window / 10))),  # an action is that of about 4 points
        )

    @property
    def step_s(self) -> float:
        """Seconds from one step of the features to the next."""
        return CLIP_FRAMES / self.fps

    @property
    def ranges(self) -> list[list[int]]:
        """The nearest and the farthest border of an action, in steps, that each level learns."""
        ends = [0, *(_FIRST_RANGE * 2**level for level in range(self.num_levels - 1)), 10000]
        return [[start, end] for start, end in itertools.pairwise(ends)]

    def encoding_hours(self, seen: Seen) -> float:
        """How long the processor encodes all videos."""
        return _hours(seen, self.fps) / (_SMALL_IS_FASTER if self.has_small_pictures else 1.0)


def _hours(seen: Seen, fps: float) -> float:
    """At 224 pixels, on all cores; one of two decodes."""
    return seen.total_s * fps / (_ENCODED_PER_SECOND * max(seen.cores / 2, 1)) / 3600
