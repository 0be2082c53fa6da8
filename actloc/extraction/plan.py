"""Plans an extraction: which videos, in which order, on which shard, and roughly how much data."""

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.settings.choices import Dtype
from actloc.video.windows import ClipSpacing

_USUAL_FPS = 30.0


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work, which may run at the same time on one machine or several."""

    number: int
    """From 1."""
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parses `2/8`; raises UserError."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UserError(
                f"--shard is {text}.",
                "Expected NUMBER/COUNT: with 8 shards, 1/8 to 8/8.",
                "In a Slurm array of 1-8: --shard $SLURM_ARRAY_TASK_ID/8",
            )
        return shard

    @property
    def text(self) -> str:
        """What `parse` takes."""
        return f"{self.number}/{self.count}"

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


def shared_out(videos: Mapping[str, AnnotatedVideo], shard: Shard) -> dict[str, AnnotatedVideo]:
    """The videos of one shard: longest first, each goes to the shard with the least work; ties by id and number.

    Depends only on the videos and their durations, so every machine computes the same.
    """
    seconds = durations(videos.values())
    loads = [(0.0, number) for number in range(1, shard.count + 1)]
    own = {}
    for video in longest_first(videos.values()):
        load, number = loads[0]
        heapq.heapreplace(loads, (load + seconds[video.id], number))
        if number == shard.number:
            own[video.id] = video
    return own


def longest_first(videos: Iterable[AnnotatedVideo]) -> list[AnnotatedVideo]:
    """The order in which no long video is left for the end; ties by id."""
    listed = list(videos)
    seconds = durations(listed)
    return sorted(listed, key=lambda video: (-seconds[video.id], video.id))


def durations(videos: Iterable[AnnotatedVideo]) -> dict[str, float]:
    """Seconds of each video by id; one without a duration counts as the average of the others."""
    stated = {video.id: video.duration_s for video in videos}
    known = [seconds for seconds in stated.values() if seconds is not None]
    usual = fmean(known) if known else 1.0
    return {video_id: usual if seconds is None else seconds for video_id, seconds in stated.items()}


def seconds_per_clip(video: AnnotatedVideo, spacing: ClipSpacing) -> float:
    """Seconds from one clip to the next; a guess if the video's own rate is used and not known."""
    fps = (video.fps or _USUAL_FPS) if spacing.fps == "native" else spacing.fps
    return spacing.stride_frames / fps


def estimated_bytes(
    videos: Sequence[AnnotatedVideo], values_per_clip: int, spacing: ClipSpacing, dtype: Dtype
) -> list[float]:
    """Estimated size of each video's features in bytes; a clip gives `values_per_clip` numbers."""
    seconds = durations(videos)
    clip_bytes = values_per_clip * np.dtype(dtype).itemsize
    return [seconds[video.id] / seconds_per_clip(video, spacing) * clip_bytes for video in videos]
