"""Shows an extraction's progress on one bar: videos done, speed relative to real time, and time left."""

import time
from collections.abc import Sequence

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.console import Reporter
from actloc.extraction.plan import durations, seconds_per_clip
from actloc.extraction.rows import RowSink
from actloc.store.info import FeatureInfo, Features
from actloc.video.windows import ClipSpacing


class Pace:
    """Advances a bar, in seconds of video, with every row."""

    def __init__(
        self, bar: Reporter, videos: Sequence[AnnotatedVideo], spacing: ClipSpacing, vectors_per_clip: int
    ) -> None:
        self._bar = bar
        self._left_s = durations(videos)
        self._row_s = {video.id: seconds_per_clip(video, spacing) / vectors_per_clip for video in videos}
        self._num_videos, self._num_done = len(videos), 0
        self._seen_s, self._started = 0.0, time.monotonic()

    def watched(self, video_id: str, sink: RowSink) -> RowSink:
        """`sink`, whose rows advance the bar."""
        return _WatchedSink(self, video_id, sink)

    def rows(self, video_id: str, count: int) -> None:
        """Advances by `count` rows of a video."""
        self._move(video_id, min(count * self._row_s[video_id], self._left_s[video_id]))

    def over(self, video_id: str) -> None:
        """The video is finished, with or without features."""
        self._num_done += 1
        self._move(video_id, self._left_s[video_id])

    def _move(self, video_id: str, seconds: float) -> None:
        self._left_s[video_id] -= seconds
        self._seen_s += seconds
        speed = self._seen_s / max(time.monotonic() - self._started, 1e-3)
        self._bar(seconds, f"{self._num_done} of {console.count(self._num_videos, 'video')}, {speed:.1f} x real time")


class _WatchedSink:
    """A sink that reports its rows to a Pace."""

    def __init__(self, pace: Pace, video_id: str, sink: RowSink) -> None:
        self._pace, self._video_id, self._sink = pace, video_id, sink
        self.dtype = sink.dtype

    def append(self, rows: Features) -> None:
        self._sink.append(rows)
        self._pace.rows(self._video_id, len(rows))

    def finish(self, info: FeatureInfo) -> FeatureInfo:
        return self._sink.finish(info)

    def discard(self) -> None:
        self._sink.discard()
