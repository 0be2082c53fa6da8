"""The first stage of extraction: a video decoded, in a process of its own, and cut into what the network takes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from actloc.config import Machine
from actloc.sources.base import SourceConfig
from actloc.video import windows
from actloc.video.frame_steps import FrameStep
from actloc.video.reader import Summary, read_frames


class DecodedVideo:
    """What the network takes of one video, in order: frames where it works frame by frame, else clips.

    Decoding has begun; iteration raises VideoError.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[FrameStep],
        features: SourceConfig,
        machine: Machine,
        waiting: Callable[[], None],
        *,
        is_framewise: bool,
    ) -> None:
        self._reader = read_frames(
            path,
            fps=features.fps,
            decode_fps=features.decode_fps,
            steps=steps,
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
            waiting=waiting,
        )
        self._interval = features.frame_interval
        self._windower = windower(features)
        self._items: Iterator[NDArray[Any]] = iter(self._reader) if is_framewise else self._clips()

    def _clips(self) -> Iterator[NDArray[Any]]:
        for frame in self._reader:
            yield from thinned(self._windower.add(frame), self._interval)
        yield from thinned(self._windower.end(), self._interval)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self._items

    @property
    def summary(self) -> Summary:
        """What the video held; there once every item was taken."""
        return self._reader.summary

    @property
    def backlog(self) -> float:
        """How much of what may be decoded ahead is waiting; 1 where decoding itself waits or has ended."""
        return self._reader.backlog

    def close(self) -> None:
        """Ends the decoding; may be called again."""
        self._reader.close()


def windower(features: SourceConfig) -> windows.Windower:
    """What cuts the clips that the settings ask for."""
    return windows.Windower(features.align, features.clip_frames, features.stride_frames)


def thinned(clips: Iterable[NDArray[Any]], interval: int) -> Iterator[NDArray[Any]]:
    """Every so many-th frame of each clip."""
    return (clip[::interval] for clip in clips)
