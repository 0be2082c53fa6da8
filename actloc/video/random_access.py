"""Any picture of a video by its number: seeks to a key frame and decodes forward, where seeking can be trusted.

In mp4, mov, Matroska and WebM the packets state every picture's time, so they are listed once without decoding, and
each decoded picture is compared with that list. Where one differs, and in all other containers, the list comes from
decoding the whole video once, and pictures are decoded from the start.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.decode import Upright, files_fault, frame_number, rates
from actloc.video.readers import images, pyav
from actloc.video.readers.base import DecodingStats, check_size, opened, packets, video_stream
from actloc.video.windows import Picking

_SEEKABLE = ("mp4", "matroska")
"""Containers whose packets state the times that their pictures have, by a part of FFmpeg's name for them."""
_KEPT_BYTES = 64 << 20  # of pictures kept for the next clip, in their own pixel format


class UnverifiedError(Exception):
    """A picture after a seek is not the one that the list of packets promises."""


@dataclass
class Progress:
    """What decoders did; `report` is called for each packet and picture, so that the parent knows of the work."""

    report: Callable[[], None]
    frames_decoded: int = 0

    def count(self) -> None:
        """Counts one decoded picture."""
        self.frames_decoded += 1
        self.report()


@dataclass(frozen=True)
class Packets:
    """Where a container can be entered, and what its pictures' timestamps are, in the units of its stream."""

    stamps: NDArray[np.int64]
    """Timestamp of each picture, ascending."""
    keys: NDArray[np.int64]
    """Timestamp of each key frame, ascending; an edit list may hide some of their pictures."""
    last_duration: int
    time_base: Fraction


@dataclass
class Listing:
    """The pictures of a video, and how they are shown at a constant rate."""

    reader: str
    fps: Fraction
    decode_fps: Fraction
    numbers: NDArray[np.int64]
    """First frame at `decode_fps` that may show each picture."""
    num_shown: int
    """Frames at `decode_fps`."""
    duration_s: float
    packets: Packets | None = None
    """None if pictures are decoded from the start."""
    files: list[Path] = field(default_factory=list)
    """Of a folder of frames: the file of each picture."""
    upright: Upright | None = None
    """Known once the first picture is decoded."""

    @property
    def picking(self) -> Picking | None:
        """How clips pick their own frames; None if frames are at `fps`."""
        picking = Picking(float(self.decode_fps), float(self.fps))
        return None if picking.step.is_integer() else picking

    def num_frames(self, frames_ahead: int) -> int:
        """Frames that clips are cut from, after steps that drop `frames_ahead` at the end."""
        step = 1 if self.picking else int(self.decode_fps / self.fps)
        return max(-(-self.num_shown // step) - frames_ahead, 0)

    def num_places(self, frames_ahead: int) -> int:
        """The same in the unit that clips are counted in."""
        num_frames = self.num_frames(frames_ahead)
        return num_frames if self.picking is None else self.picking.num_places(num_frames)

    def pictures(self, frames: list[int]) -> list[int]:
        """Number of the picture that each frame shows: the last one whose first frame is not later."""
        step = 1 if self.picking else int(self.decode_fps / self.fps)
        found = np.searchsorted(self.numbers, np.array(frames, np.int64) * step, side="right") - 1
        return [max(int(number), 0) for number in found]


def listing(
    path: Path,
    reader: str,
    fps: float | str,
    decode_fps: float | str | None,
    progress: Progress,
    *,
    from_packets: bool = True,
) -> Listing:
    """Lists the pictures, from the packets alone where they can be trusted; raises VideoError as extraction does."""
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    exact = rates(module, path, fps, decode_fps, progress.report)
    with files_fault():
        if reader == "images":
            return _of_folder(path, *exact)
        by_packets = _of_packets(path, *exact, progress) if reader == "pyav" and from_packets else None
        return by_packets or _of_decoding(path, reader, *exact, progress)


def _of_folder(folder: Path, fps: Fraction, decode_fps: Fraction) -> Listing:
    own_fps, count = images.listed(folder)
    found = list(images.files(folder, count))
    end_s = (found[-1][0] + 1) / own_fps if found else Fraction(0)
    DecodingStats(frames=len(found), end_s=end_s).check(images.declared(own_fps, count))
    numbers = [frame_number(number / own_fps, decode_fps) for number, _ in found]
    shown = max(frame_number(end_s, decode_fps), numbers[-1])
    files = [file for _, file in found]
    return Listing("images", fps, decode_fps, np.array(numbers), shown, float(end_s), files=files)


def _of_packets(path: Path, fps: Fraction, decode_fps: Fraction, progress: Progress) -> Listing | None:
    """None where the packets are not those of a whole and usual file: decoding it then says what is wrong."""
    with opened(path) as container:
        if not any(name in container.format.name for name in _SEEKABLE):
            return None
        stream = video_stream(container)
        stats = DecodingStats()
        found = _packets(container, stream, stats, progress)
        if found is None:
            return None
        first, last = int(found.stamps[0]), int(found.stamps[-1])
        usual_length_s = 1 / (stream.guessed_rate or stream.average_rate or Fraction(25))
        last_s = (last - first) * found.time_base
        stats.frames, stats.start_s = len(found.stamps), first * found.time_base
        stats.end_s = last_s + (found.last_duration * found.time_base or usual_length_s)
        try:
            stats.check(pyav.declared(container, stream))
        except VideoError:
            return None
    ratio = found.time_base * decode_fps
    rounded = (_halves_up(stamp - first, ratio) for stamp in found.stamps.tolist())
    numbers = np.fromiter(rounded, np.int64, len(found.stamps))
    shown = max(frame_number(stats.end_s, decode_fps), frame_number(last_s, decode_fps))
    return Listing("pyav", fps, decode_fps, numbers, shown, float(stats.end_s), packets=found)


def _halves_up(count: int, ratio: Fraction) -> int:
    """`count * ratio` rounded as `frame_number` does it, without the time that Fractions take."""
    return (2 * count * ratio.numerator + ratio.denominator) // (2 * ratio.denominator)


def _packets(
    container: InputContainer, stream: VideoStream, stats: DecodingStats, progress: Progress
) -> Packets | None:
    stamps: list[int] = []
    keys: list[int] = []
    last = last_duration = 0
    try:
        for packet in packets(container):
            progress.report()
            if packet.stream.index != stream.index:
                stats.count_other(packet)
                continue
            if not packet.size:
                continue
            if packet.pts is None or packet.is_corrupt:
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)
            if not packet.is_discard:
                if not stamps or packet.pts > last:
                    last, last_duration = packet.pts, packet.duration or 0
                stamps.append(packet.pts)
    except av.FFmpegError:
        return None
    stamps.sort()
    is_clear = stamps and stream.time_base and len(set(stamps)) == len(stamps)
    if not is_clear or not stream.time_base or not keys or min(keys) > stamps[0]:
        return None
    return Packets(np.array(stamps, np.int64), np.sort(np.array(keys, np.int64)), last_duration, stream.time_base)


def _of_decoding(path: Path, reader: str, fps: Fraction, decode_fps: Fraction, progress: Progress) -> Listing:
    stats, numbers = DecodingStats(), []
    for picture in importlib.import_module(f"actloc.video.readers.{reader}").pictures(path, stats):
        progress.count()
        numbers.append(frame_number(picture.time_s, decode_fps))
    shown = max(frame_number(stats.end_s, decode_fps), numbers[-1])
    return Listing(reader, fps, decode_fps, np.array(numbers), shown, float(stats.end_s))


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
        raise VideoError("damaged", f"picture {number} was there before, and now is not", "the same file", "another")

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
