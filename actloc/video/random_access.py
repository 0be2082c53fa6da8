"""Any picture of a video by its number: seeks to a key frame and decodes forward, where seeking can be trusted.

Where the packets list the pictures, every decoded one is compared with that list; other videos are decoded from the
start. So is a file in which the decoder has patched up a picture, because after a seek it would patch it from others.
It can go unnoticed where the decoder reports it late or never: then a damaged picture shows other damage.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from actloc.errors import VideoError
from actloc.video.decode import Upright, files_fault
from actloc.video.listing import Listing, Packets, Progress
from actloc.video.readers import images
from actloc.video.readers.base import DecodingStats, check_size, opened, packets, video_stream

_KEPT_BYTES = 64 << 20  # of pictures kept for the next clip, in their own pixel format


class UnverifiedError(Exception):
    """A picture after a seek is not the one that the list of packets promises."""


class Video(ABC):
    """An open video, which gives any of its pictures by number; it keeps the last ones."""

    def __init__(self, path: Path, listing: Listing, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self.listing = listing
        self._kept: dict[int, av.VideoFrame] = {}
        self._kept_bytes = self._first_kept = 0

    @property
    def upright(self) -> Upright:
        """How the pictures become frames."""
        if self.listing.upright is None:
            self.listing.upright = Upright.of(self.picture(0))
        return self.listing.upright

    def picture(self, number: int) -> av.VideoFrame:
        """A picture; raises VideoError, or UnverifiedError if the list of packets is wrong."""
        if number in self._kept:
            return self._kept[number]
        with files_fault():
            return self._decode(number)

    @abstractmethod
    def _decode(self, number: int) -> av.VideoFrame:
        """A picture that is not kept; calls `_keep` with it."""

    def keep_from(self, number: int) -> None:
        """Keeps this picture and later ones, and no earlier ones."""
        self._first_kept = number
        for early in [other for other in self._kept if other < number]:
            self._drop(early)

    def _keep(self, number: int, frame: av.VideoFrame) -> None:
        if number < self._first_kept:
            return
        self._kept[number] = frame
        self._kept_bytes += _size(frame)
        while self._kept_bytes > _KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        self._kept_bytes -= _size(self._kept.pop(number))

    def close(self) -> None:
        """Closes the file."""
        self._kept.clear()


def open_video(path: Path, listing: Listing, progress: Progress) -> Video:
    """Opens a video of which the pictures are listed."""
    if listing.reader == "images":
        return _Folder(path, listing, progress)
    return _Sought(path, listing, listing.packets, progress) if listing.packets else _FromStart(path, listing, progress)


class _Folder(Video):
    """Opens the files that are asked for, and no others."""

    def _decode(self, number: int) -> av.VideoFrame:
        frame = images.decoded(self.listing.files[number])
        self._progress.count()
        self._keep(number, frame)
        return frame


class _Running(Video):
    """Goes on decoding from where it is, until `_approach` enters the file anew."""

    _decoded: Generator[av.VideoFrame, None, None]
    _next: int
    """Number of the picture that `_decoded` gives next."""

    @abstractmethod
    def _approach(self, number: int) -> None:
        """Enters the file again if that is the shorter way, or the only one, to a picture."""

    def _decode(self, number: int) -> av.VideoFrame:
        self._approach(number)
        for frame in self._decoded:
            self._keep(self._next, frame)
            self._next += 1
            if self._next > number:
                return frame
        raise VideoError("damaged", f"picture {number} is missing now", "the pictures that were listed", "fewer")

    def close(self) -> None:
        super().close()
        self._decoded.close()


class _FromStart(_Running):
    """Decodes from the start, with any reader."""

    def __init__(self, path: Path, listing: Listing, progress: Progress) -> None:
        super().__init__(path, listing, progress)
        self._enter()

    def _enter(self) -> None:
        self._decoded, self._next = self._pictures(), 0

    def _approach(self, number: int) -> None:
        if number < self._next:
            self._decoded.close()
            self._enter()

    def _pictures(self) -> Generator[av.VideoFrame, None, None]:
        module = importlib.import_module(f"actloc.video.readers.{self.listing.reader}")
        for picture in module.pictures(self._path, DecodingStats()):
            self._progress.count()
            yield picture.frame


class _Sought(_Running):
    """Seeks to key frames, and compares what comes out of the decoder with the list of packets."""

    def __init__(self, path: Path, listing: Listing, known: Packets, progress: Progress) -> None:
        super().__init__(path, listing, progress)
        self._known = known
        self._open = ExitStack()
        with files_fault():
            self._container = self._open.enter_context(opened(path))
            self._stream = video_stream(self._container)
        self._enter(int(known.keys[0]))

    def close(self) -> None:
        super().close()
        self._open.close()

    def _approach(self, number: int) -> None:
        known = self._known
        key = int(known.keys[np.searchsorted(known.keys, known.stamps[number], side="right") - 1])
        if number < self._next or self._first_after(key) > self._next:
            self._decoded.close()
            self._enter(key)

    def _first_after(self, key: int) -> int:
        """Number of the first picture that can be trusted after entering at a key frame."""
        return int(np.searchsorted(self._known.stamps, key))

    def _enter(self, key: int) -> None:
        """Enters at the key frame with this timestamp, or at an earlier one if the container does not find it."""
        try:
            self._container.seek(key, stream=self._stream)
            received = packets(self._container, self._stream)
            packet = next(received)
        except (av.FFmpegError, StopIteration) as error:
            raise UnverifiedError from error
        if packet.pts is None or packet.pts > key or packet.pts not in self._known.keys:
            raise UnverifiedError
        self._next = self._first_after(packet.pts)
        self._decoded = self._verified(chain([packet], received), self._next)

    def _verified(
        self,
        received: "Iterable[av.Packet[Any]]",
        due: int,  # Any: of a stream
    ) -> Generator[av.VideoFrame, None, None]:
        """The pictures from number `due` on."""
        first_stamp = self._known.stamps[due]
        try:
            for packet in received:
                for frame in packet.decode():
                    self._progress.count()
                    assert isinstance(frame, av.VideoFrame), "the stream is one of pictures"
                    if frame.pts is not None and frame.pts < first_stamp:
                        continue  # shown before the key frame, and perhaps made from pictures that were not decoded
                    self._verify(frame, due)
                    yield frame
                    due += 1
        except av.FFmpegError as error:
            raise UnverifiedError from error
        if due != len(self._known.stamps):
            raise UnverifiedError

    def _verify(self, frame: av.VideoFrame, due: int) -> None:
        check_size(frame.width, frame.height)
        known = self._known
        is_last = due == len(known.stamps) - 1
        if (
            due >= len(known.stamps)
            or frame.pts != known.stamps[due]
            or frame.time_base != known.time_base
            or frame.is_corrupt
            or (is_last and (frame.duration or 0) != known.last_duration)
        ):
            raise UnverifiedError


def _size(frame: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)
