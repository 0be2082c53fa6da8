"""Shared by all readers: opening a container safely, pictures with exact times, and checking that none is missing.

Rules for unusual files:
start offset      time zero is the first picture's timestamp
edit list         the decoder skips what the list leaves out; the header's frame count includes it, so the smaller
                  of count and duration x rate is expected
rotation          the display matrix is applied, to the nearest quarter turn
pixel shape       sample aspect ratio is ignored: pixels are taken as square
cover art         an attached picture is not a video
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from actloc.errors import VideoError
from actloc.video.base import INPUT_OPTIONS, LARGEST_SIDE
from actloc.video.readers import joined

_JOINED_MIDWAY = ("mpegts", "mpeg")
"""A recording of a broadcast begins anywhere: frames before its first keyframe cannot be decoded, and do not count."""
_TOLERATED_FRAMES = 1
_TOLERATED_SHARE = Fraction(5, 1000)
"""One frame or 0.5 % of the frames may be missing, whichever is more: headers are not exact."""


_FALLS_BACK_S = Fraction(1)
_JUMPS_S = Fraction(10)
"""A clock that falls back by more, or of a broadcast jumps ahead by more, is that of recordings joined into one file.
Pictures may come a little out of order, and other formats may show one picture for minutes."""


class Clock:
    """Refuses a file whose clock is not one: recordings joined into one file, byte after byte."""

    def __init__(self, format_name: str) -> None:
        self._longest_jump_s = _JUMPS_S if format_name in _JOINED_MIDWAY else None
        self._cure = "write it anew with one clock: ffmpeg -i FILE -c copy NEW.mp4"
        if format_name not in (*_JOINED_MIDWAY, "ogg"):  # of other formats ffmpeg keeps the clock
            self._cure = "join the originals anew: ffmpeg -f concat -i LIST.txt -c copy NEW.mp4"
        self._last_s: Fraction | None = None

    def check(self, stamp_s: Fraction) -> None:
        """Raises VideoError `unsupported` for a timestamp that does not follow the last one."""
        last_s, self._last_s = self._last_s, stamp_s
        if last_s is None:
            return
        falls = stamp_s < last_s - _FALLS_BACK_S
        jumps = self._longest_jump_s is not None and stamp_s > last_s + self._longest_jump_s
        if not falls and not jumps:
            return
        how = "falls back" if falls else "jumps"
        raise VideoError(
            "unsupported",
            f"the clock {how} from {float(last_s):.2f} s to {float(stamp_s):.2f} s, as where recordings were joined "
            f"into one file; {self._cure}",
            "timestamps of one recording",
            "those of several",
        )


@dataclass(frozen=True)
class Picture:
    """A decoded frame of native size and its time since the first one, in seconds."""

    time_s: Fraction
    frame: av.VideoFrame


@dataclass(frozen=True)
class Declared:
    """What a header declares; None where it declares nothing, or nothing reliable."""

    frames: Fraction | None = None
    duration_s: Fraction | None = None
    rate: Fraction | None = None
    counts_from_zero: bool = False
    """The duration includes the time before the first frame (Matroska, FLV, AVI)."""


@dataclass
class DecodingStats:
    """Counts and times of what was decoded so far; readers update it with every frame."""

    width: int = 0
    height: int = 0
    frames: int = 0
    corrupt_frames: int = 0
    """Frames the decoder had to patch up."""
    errors: int = 0
    """Packets the decoder refused."""
    start_s: Fraction = Fraction(0)
    """The first frame's timestamp."""
    end_s: Fraction = Fraction(0)
    """End of the last frame, from the start of the first."""
    others_end_s: Fraction = Fraction(0)
    """End of the last audio or subtitle packet, as a timestamp."""

    def count_other(self, packet: "av.Packet[Any]") -> None:  # Any: of a stream
        """Notes the end of an audio or subtitle packet."""
        if packet.pts is not None and packet.time_base:
            self.others_end_s = max(self.others_end_s, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def check(self, declared: Declared) -> None:
        """Raises VideoError `truncated`, `damaged` or `empty` if more frames are missing than tolerated."""
        duration_s = declared.duration_s
        if duration_s is not None and declared.counts_from_zero:
            duration_s -= self.start_s
        rate = self.frames / self.end_s if self.end_s else declared.rate or Fraction(0)
        expected = self._expected_frames(declared, duration_s, rate)
        tolerated = max(Fraction(_TOLERATED_FRAMES), _TOLERATED_SHARE * expected)
        end_s = max(self.end_s, self.others_end_s - self.start_s)
        at_end = Fraction(0) if duration_s is None else (duration_s - end_s) * rate
        missing = max(expected - self.frames, at_end, Fraction(self.errors))
        if missing > tolerated:
            is_cut = at_end > tolerated and self.errors <= 1  # the packet torn by the cut may raise
            found = f"{self.frames} frames, {float(self.end_s):.2f} s"
            wanted = f"{float(max(expected, self.frames + at_end)):.0f} frames"
            detail = f"frames missing: {float(missing):.0f}; packets that failed to decode: {self.errors}"
            raise VideoError("truncated" if is_cut else "damaged", detail, wanted, found)
        if not self.frames:
            raise VideoError("empty", "the video stream has no frames", "at least one frame", "0 frames")

    def _expected_frames(self, declared: Declared, duration_s: Fraction | None, rate: Fraction) -> Fraction:
        if declared.frames is not None:
            by_time = duration_s * declared.rate if duration_s is not None and declared.rate else declared.frames
            return min(declared.frames, by_time)
        if not self.frames:
            return (duration_s or Fraction(0)) * (declared.rate or rate)
        # With a variable rate, the header's rate would suggest missing frames where there are none. So without a
        # reliable count, frames are only expected at that rate if the decoder reported errors.
        if (self.errors or self.corrupt_frames) and declared.rate:
            return self.end_s * declared.rate
        return Fraction(self.frames)


def rate_of_stamps(
    stamps: Iterator[int], tick_s: Fraction, stated: Fraction, report_progress: Callable[[], None]
) -> Fraction | None:
    """Frames per second of pictures with these timestamps, in any order; None for fewer than two.

    A constant rate is exact: the header's rate `stated`, or a standard one, if it fits the rounding of the timestamps.
    A variable rate gives its mean. `report_progress` is called for every stamp.
    """
    intervals, first, last = -1, None, 0
    for stamp in stamps:
        report_progress()
        intervals += 1
        first, last = (stamp, stamp) if first is None else (min(first, stamp), max(last, stamp))
    if first is None or first == last:
        return None
    span_s = (last - first) * tick_s
    mean = intervals / span_s
    fitting = (rate for rate in (stated, *_usual_rates(mean)) if rate and abs(intervals / rate - span_s) <= 2 * tick_s)
    return next(fitting, mean)


def meant_rate(stated: Fraction, rounded_to: Fraction) -> Fraction:
    """The standard rate that a header rounds to `stated`, within `rounded_to` frames per second; otherwise `stated`."""
    return next((rate for rate in _usual_rates(stated) if abs(rate - stated) <= rounded_to), stated)


def _usual_rates(near: Fraction) -> tuple[Fraction, Fraction]:
    """The nearest whole number of frames per second, and the nearest NTSC rate, such as 30000/1001."""
    return Fraction(round(near)), Fraction(1000 * round(near * 1001 / 1000), 1001)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container of a regular file; raises VideoError `unreadable` for anything but a known container."""
    joined.check(path)
    try:
        container = av.open(f"file:{path}", options=INPUT_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise VideoError("unreadable", detail, "a video container", f"{path.stat().st_size} bytes") from error
    with container:
        yield container


def video_stream(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures; raises VideoError `no_video_stream` or `unsupported`."""
    pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not pictures:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise VideoError("no_video_stream", "the file has no video stream", "a video stream", kinds)
    stream = pictures[0]
    if stream.codec_context is None:
        raise VideoError("unsupported", "FFmpeg has no decoder for the video stream", "a known codec", "an unknown one")
    check_size(stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.thread_count = 1  # one process per video; PyAV's own threads have deadlocked (PyAV 751, 909)
    return stream


def check_size(width: int, height: int) -> None:
    """Raises VideoError `unsupported` if a side is longer than LARGEST_SIDE."""
    if max(width, height) > LARGEST_SIDE:
        expected = f"at most {LARGEST_SIDE} pixels a side"
        raise VideoError("unsupported", "the frame is too large", expected, f"{width} x {height}")


def decoded(container: InputContainer, stream: VideoStream, stats: DecodingStats) -> Iterator[Picture]:
    """Every frame of `stream` in order of presentation; updates `stats`."""
    usual_length_s = 1 / (stream.guessed_rate or stream.average_rate or Fraction(25))
    is_avi = container.format.name == "avi"
    first_s = last_s = None
    clock = Clock(container.format.name)
    for frame in _frames(container, stream, stats):
        check_size(frame.width, frame.height)
        # AVI has decoding times only and counts them in ticks; frames come out in the order of those times.
        stamp = frame.dts if is_avi else frame.pts
        length = 0 if is_avi else frame.duration
        stamp_s = None if stamp is None or frame.time_base is None else stamp * frame.time_base
        if stamp_s is not None:
            clock.check(stamp_s)
        if first_s is None or last_s is None:
            first_s = last_s = stats.start_s = stamp_s or Fraction(0)
            if container.format.name in _JOINED_MIDWAY:
                stats.errors = 0
            stats.width, stats.height = frame.width, frame.height
        # A raw stream has no times: each frame begins where the previous one ended.
        time_s = stats.end_s if stamp_s is None else max(stamp_s - first_s, last_s - first_s)
        last_s = time_s + first_s
        stats.frames += 1
        stats.corrupt_frames += frame.is_corrupt
        stats.end_s = time_s + (length * frame.time_base if length and frame.time_base else usual_length_s)
        yield Picture(time_s, frame)


def packets(container: InputContainer, *streams: VideoStream) -> Iterator["av.Packet[Any]"]:  # Any: of a stream
    """The packets of `streams`, or of all; raises VideoError `unreadable` for one of a stream unknown to PyAV."""
    try:
        yield from container.demux(*streams)
    except IndexError as error:  # PyAV only knows the streams that existed when the file was opened
        detail = "PyAV cannot read files in which a stream begins midway; try machine.reader=ffmpeg"
        raise VideoError("unreadable", detail, "streams that begin with the file", "one that begins later") from error


def _frames(container: InputContainer, stream: VideoStream, stats: DecodingStats) -> Iterator[av.VideoFrame]:
    try:
        for packet in packets(container):
            if packet.stream.index != stream.index:  # not stream_index, which is 0 in the packets that flush
                stats.count_other(packet)
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                stats.errors += 1
                continue
            yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))
    except av.FFmpegError:  # the container is cut off; the check at the end reports what is missing
        stats.errors += 1
