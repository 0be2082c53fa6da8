"""Shows how far `predict` is: in the time of the videos, relative to real time."""

from __future__ import annotations  # names for the type checker only: `predict` checks names without importing torch

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from actloc import console
from actloc.console import Reporter
from actloc.store.info import FeatureInfo, Features
from actloc.video.base import VideoFacts

if TYPE_CHECKING:
    from actloc.extraction.rows import RowSink

_Item = TypeVar("_Item")


class VideoProgress:
    """How far one video is; whoever works on it says so. By itself it shows nothing."""

    def __init__(self, facts: VideoFacts | None = None) -> None:
        self.facts = facts
        """What the video's header says; None if it is not known."""
        self._part, self._num_parts = 0, 1

    def at(self, seconds: float) -> None:
        """The video is done up to this time."""

    def at_share(self, share: float) -> None:
        """This share of the video, from 0 to 1, is done."""
        if self.facts is not None:
            self.at(share * self.facts.duration_s)

    def through(self, parts: Sequence[_Item]) -> Iterator[_Item]:
        """The parts of the video, one after another; each is done when the next one is asked for."""
        self._num_parts = len(parts)
        for self._part, part in enumerate(parts):
            yield part
            self.at_share_of_part(1.0)

    def at_share_of_part(self, share: float) -> None:
        """This share of the part that is worked on, from 0 to 1, is done."""
        self.at_share((self._part + share) / self._num_parts)


class WatchedRows:
    """A sink of rows that says how far the video is; a row stands for `row_s` seconds."""

    def __init__(self, rows: RowSink, progress: VideoProgress, row_s: float) -> None:
        self._rows, self._progress, self._row_s = rows, progress, row_s
        self._number = 0
        self.dtype = rows.dtype

    def append(self, rows: Features) -> None:
        """Passes rows on."""
        self._rows.append(rows)
        self._number += len(rows)
        self._progress.at(self._number * self._row_s)

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        """Finishes the sink."""
        return self._rows.finish(info)

    def discard(self) -> None:
        """Discards what the sink has not finished."""
        self._rows.discard()


class PaceByBytes:
    """Advances a bar by the bytes of videos, because the length of a video is not known before it is opened."""

    def __init__(self, bar: Reporter, num_videos: int) -> None:
        self._bar = bar
        self._num_videos, self._num_done = num_videos, 0
        self._seen_s, self._started = 0.0, time.monotonic()

    def move(self, seconds: float, num_bytes: float, where: str = "") -> None:
        """Advances by a stretch of video; `where` says where in the video that is.

        The note is short, because the time left has to fit into a line of 80 letters too.
        """
        self._seen_s += seconds
        speed = self._seen_s / max(time.monotonic() - self._started, 1e-3)
        done = f"{self._num_done} of {console.count(self._num_videos, 'video')}"
        which = f"{self._num_done + 1} of {self._num_videos}: " if self._num_videos > 1 else ""
        at = f"{which}{where}" if where else done
        self._bar(num_bytes, f"{at}, {speed:.1f} x real time" if self._seen_s else at)

    def over(self, seconds: float, num_bytes: float) -> None:
        """A video is over: what was left of it is done."""
        self._num_done += 1
        self.move(seconds, num_bytes)


class VideoOnBar(VideoProgress):
    """The progress of a video that is shown on a bar."""

    def __init__(self, pace: PaceByBytes, facts: VideoFacts | None, num_bytes: int) -> None:
        super().__init__(facts)
        self._pace, self._num_bytes = pace, num_bytes
        self._share = 0.0
        self.at(0.0)

    def at(self, seconds: float) -> None:
        """Moves the bar on."""
        total_s = self.facts.duration_s if self.facts is not None else 0.0
        if total_s <= 0:
            return
        share = max(self._share, min(seconds / total_s, 1.0))
        step, self._share = share - self._share, share
        self._pace.move(step * total_s, step * self._num_bytes, f"{share * total_s:.0f} of {total_s:.0f} s")

    def over(self) -> None:
        """The video is finished, with or without a result."""
        left, total_s = 1.0 - self._share, self.facts.duration_s if self.facts is not None else 0.0
        self._pace.over(left * total_s, left * self._num_bytes)
