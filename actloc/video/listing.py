"""Lists the pictures of a video once, so that any of them can be found later.

The packets of mp4, mov, Matroska and WebM state every picture's time, so their list is made without decoding. In all
other containers, and where the packets are not those of a whole and usual file, the whole video is decoded.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.base import Span
from actloc.video.decode import Upright, files_fault, frame_number, rates
from actloc.video.readers import images, pyav
from actloc.video.readers.base import DecodingStats, opened, packets, video_stream
from actloc.video.windows import Picking

_SEEKABLE = ("mp4", "matroska")
"""Containers whose packets state the times that their pictures have, by a part of FFmpeg's name for them."""


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
    """First frame at `decode_fps` that may show each picture; negative for pictures before the part that is read."""
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


def list_pictures(
    path: Path,
    reader: str,
    fps: float | str,
    decode_fps: float | str | None,
    progress: Progress,
    span: Span | None = None,
    *,
    from_packets: bool = True,
) -> Listing:
    """Lists the pictures, from the packets alone where they can be trusted; raises VideoError as extraction does.

    With `span` the frames are those of this part of the video; all of its pictures are listed.
    """
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    exact = rates(module, path, fps, decode_fps, progress.report)
    with files_fault():
        if reader == "images":
            return _of_folder(path, *exact, span or Span())
        by_packets = _of_packets(path, *exact, span or Span(), progress) if reader == "pyav" and from_packets else None
        return by_packets or _of_decoding(path, reader, *exact, span or Span(), progress)


def _num_shown(span: Span, end_s: Fraction, last_s: Fraction, decode_fps: Fraction) -> int:
    """Frames of a part of a video that ends at `end_s` and whose last picture has the time `last_s`."""
    last_s = last_s if span.end_s is None else min(last_s, Fraction(span.end_s))
    return max(frame_number(span.length(end_s), decode_fps), frame_number(span.after_start(last_s), decode_fps), 0)


def _of_folder(folder: Path, fps: Fraction, decode_fps: Fraction, span: Span) -> Listing:
    own_fps, count = images.listed(folder)
    found = list(images.files(folder, count))
    end_s = (found[-1][0] + 1) / own_fps if found else Fraction(0)
    DecodingStats(frames=len(found), end_s=end_s).check(images.declared(own_fps, count))
    numbers = [frame_number(span.after_start(number / own_fps), decode_fps) for number, _ in found]
    shown = _num_shown(span, end_s, found[-1][0] / own_fps, decode_fps)
    files = [file for _, file in found]
    return Listing("images", fps, decode_fps, np.array(numbers), shown, float(span.length(end_s)), files=files)


def _of_packets(path: Path, fps: Fraction, decode_fps: Fraction, span: Span, progress: Progress) -> Listing | None:
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
    before = Fraction(span.start_s) / found.time_base  # in ticks of the stream
    rounded = (_halves_up(stamp - first, ratio, before) for stamp in found.stamps.tolist())
    numbers = np.fromiter(rounded, np.int64, len(found.stamps))
    shown = _num_shown(span, stats.end_s, last_s, decode_fps)
    return Listing("pyav", fps, decode_fps, numbers, shown, float(span.length(stats.end_s)), packets=found)


def _halves_up(count: int, ratio: Fraction, before: Fraction) -> int:
    """`(count - before) * ratio` rounded as `frame_number` does it, without the time that Fractions take."""
    above = (count * before.denominator - before.numerator) * ratio.numerator
    below = before.denominator * ratio.denominator
    return (2 * above + below) // (2 * below)


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


def _of_decoding(
    path: Path, reader: str, fps: Fraction, decode_fps: Fraction, span: Span, progress: Progress
) -> Listing:
    stats, numbers, last_s = DecodingStats(), [], Fraction(0)
    for picture in importlib.import_module(f"actloc.video.readers.{reader}").pictures(path, stats):
        progress.count()
        numbers.append(frame_number(span.after_start(picture.time_s), decode_fps))
        last_s = picture.time_s
    shown = _num_shown(span, stats.end_s, last_s, decode_fps)
    return Listing(reader, fps, decode_fps, np.array(numbers), shown, float(span.length(stats.end_s)))
