"""First stage of extraction: decodes a video, in a separate process, and cuts it into the network's items."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from actloc.encoders.base_network import ClipEncoder
from actloc.settings.sections import MachineSettings
from actloc.video.base import Span
from actloc.video.reader import FrameReader, Summary, read_frames
from actloc.video.windows import ClipSpacing, Picking


class DecodedVideo:
    """An iterator over one video's items for the network: frames if it works frame by frame, otherwise clips.

    Decoding starts in the constructor; iteration raises VideoError.
    """

    def __init__(
        self,
        path: Path,
        encoder: ClipEncoder,
        spacing: ClipSpacing,
        machine: MachineSettings,
        check_stop: Callable[[], None],
        span: Span | None = None,
    ) -> None:
        self._given = 0
        self._reader = read_frames(
            path,
            fps=spacing.fps,
            decode_fps=spacing.decode_fps,
            steps=encoder.config.frame_steps(),
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
            check_stop=check_stop,
            span=span,
        )
        self._begin(encoder, spacing)

    @classmethod
    def of_reader(cls, reader: FrameReader, encoder: ClipEncoder, spacing: ClipSpacing) -> Self:
        """The items of a video that is being read already."""
        made = cls.__new__(cls)
        made._given, made._reader = 0, reader
        made._begin(encoder, spacing)
        return made

    def _begin(self, encoder: ClipEncoder, spacing: ClipSpacing) -> None:
        self._interval = spacing.frame_interval
        self._windower = spacing.windower(lambda: self.picking)
        frames = self._counted(encoder.frames(iter(self._reader)))
        self._items: Iterator[NDArray[Any]] = frames if encoder.is_framewise else self._clips(frames)

    def _counted(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for frame in frames:
            self._given += 1
            yield frame

    def _clips(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for frame in frames:
            yield from thinned(self._windower.add(frame), self._interval)
        yield from thinned(self._windower.end(), self._interval)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self._items

    @property
    def summary(self) -> Summary:
        """What the video contained; available after the last item."""
        return self._reader.summary

    @property
    def picking(self) -> Picking | None:
        """How clips pick their frames, known after the first item; None if they take consecutive frames."""
        return self._reader.picking

    @property
    def num_frames(self) -> int:
        """Number of frames that clips are cut from, in their unit; learned flow drops the last frame that was read."""
        return self._given if self.picking is None else self.picking.num_places(self._given)

    @property
    def backlog(self) -> float:
        """How full the buffer of decoded frames is, from 0 to 1; 1 if decoding waits or has ended."""
        return self._reader.backlog

    def close(self) -> None:
        """Stops decoding; may be called again."""
        self._reader.close()


def thinned(clips: Iterable[NDArray[Any]], interval: int) -> Iterator[NDArray[Any]]:
    """Every `interval`-th frame of each clip."""
    return (clip[::interval] for clip in clips)
