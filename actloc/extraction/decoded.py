"""The first stage of extraction: a video decoded, in a process of its own, and cut into what the network takes."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from actloc.encoders.base import ClipEncoder
from actloc.settings.sections import Machine
from actloc.video.reader import Summary, read_frames
from actloc.video.windows import ClipLayout


class DecodedVideo:
    """What the network takes of one video, in order: frames where it works frame by frame, else clips.

    Decoding has begun; iteration raises VideoError.
    """

    def __init__(
        self,
        path: Path,
        encoder: ClipEncoder,
        layout: ClipLayout,
        machine: Machine,
        check_stop: Callable[[], None],
    ) -> None:
        self.num_frames = 0
        """How many frames clips are cut from; learned flow drops the last of those that were read."""
        self._reader = read_frames(
            path,
            fps=layout.fps,
            decode_fps=layout.decode_fps,
            steps=encoder.config.frame_steps(),
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
            check_stop=check_stop,
        )
        self._interval = layout.frame_interval
        self._windower = layout.windower()
        frames = self._counted(encoder.frames(iter(self._reader)))
        self._items: Iterator[NDArray[Any]] = frames if encoder.is_framewise else self._clips(frames)

    def _counted(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for frame in frames:
            self.num_frames += 1
            yield frame

    def _clips(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for frame in frames:
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


def thinned(clips: Iterable[NDArray[Any]], interval: int) -> Iterator[NDArray[Any]]:
    """Every so many-th frame of each clip."""
    return (clip[::interval] for clip in clips)
