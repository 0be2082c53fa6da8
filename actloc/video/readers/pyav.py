"""PyAV, the default reader: FFmpeg's libraries in a wheel; one pass in decoding order."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from actloc.video.base import VideoFacts
from actloc.video.readers import spans
from actloc.video.readers.base import (
    Clock,
    Declared,
    DecodingStats,
    Picture,
    decoded,
    meant_rate,
    opened,
    packets,
    rate_of_stamps,
    video_stream,
)

_HEADERS_TO = Fraction(1, 100_000)  # frames per second: Matroska stores the length of a frame in nanoseconds
_MICROSECOND = Fraction(1, 1_000_000)


def pictures(path: Path, stats: DecodingStats) -> Iterator[Picture]:
    """Every picture of the file's video; raises VideoError, at the end if pictures are missing."""
    with opened(path) as container:
        stream = video_stream(container)
        promised = declared(container, stream)
        yield from decoded(container, stream, stats)
    stats.check(promised)
    spans.check(path, stats)


def facts(path: Path) -> VideoFacts:
    """The header's facts; a duration that it does not state is read from the packets, without decoding them."""
    with opened(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        duration_s = _header_duration(container, stream)
        if duration_s is None or container.format.name == "avi":  # AVI does not state when its first frame starts
            duration_s = _last_packet_end(container, stream)
        elif _counts_from_zero(container):
            duration_s -= (stream.start_time or 0) * (stream.time_base or Fraction(0))
        # Outside mp4, the average rate is estimated from the first packets, or from AVI's ticks.
        rate = stream.average_rate if _is_mp4(container) else stream.guessed_rate
        return VideoFacts(float(duration_s), float(rate or 0), context.width, context.height)


def rate(path: Path, report_progress: Callable[[], None]) -> Fraction:
    """The rate of the packets' timestamps, without decoding; 0 if there is none."""
    with opened(path) as container:
        stream = video_stream(container)
        stated = meant_rate(Fraction(stream.guessed_rate or 0), _HEADERS_TO)
        if container.format.name == "avi" or not stream.time_base:  # AVI counts ticks, with or without a frame
            return stated
        return rate_of_stamps(_stamps(container, stream), stream.time_base, stated, report_progress) or stated


def _stamps(container: InputContainer, stream: VideoStream) -> Iterator[int]:
    """Timestamps of the packets from the first keyframe on."""
    with suppress(av.FFmpegError):  # `pictures` reports a container that is cut off
        for packet in dropwhile(lambda packet: not packet.is_keyframe, packets(container, stream)):
            if packet.pts is not None and packet.size:
                yield packet.pts


def declared(container: InputContainer, stream: VideoStream) -> Declared:
    """What the header says about the number and times of pictures."""
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    rate = min(rates) if rates else None
    # For formats without a duration in the header (mpegts, mpeg, raw streams), FFmpeg estimates one from the file,
    # sometimes far off, so it is ignored.
    duration_s = _header_duration(container, stream)
    if _is_mp4(container) and stream.frames:
        return Declared(Fraction(stream.frames), duration_s, rate)
    return Declared(None, duration_s, rate, _counts_from_zero(container))


def _header_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    name = container.format.name
    time_base = stream.time_base
    if name == "avi" and stream.frames and time_base:
        return stream.frames * time_base  # FFmpeg reduces its duration to what a truncated file contains
    if "matroska" in name and "DURATION" in stream.metadata:
        return _clock(stream.metadata["DURATION"])
    if (_is_mp4(container) or name in ("asf", "ivf", "mxf")) and stream.duration and time_base:
        return stream.duration * time_base
    if ("matroska" in name or name in ("flv", "asf")) and container.duration:
        return container.duration * _MICROSECOND
    return None


def _is_mp4(container: InputContainer) -> bool:
    return "mp4" in container.format.name


def _counts_from_zero(container: InputContainer) -> bool:
    return "matroska" in container.format.name or container.format.name in ("flv", "avi")


def _clock(text: str) -> Fraction | None:
    """Seconds of `00:00:04.023000000`."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None


def _last_packet_end(container: InputContainer, stream: VideoStream) -> Fraction:
    count, first, last = 0, None, 0
    clock = Clock(container.format.name)
    for packet in packets(container, stream):
        count += packet.size > 0
        if packet.dts is not None and stream.time_base:
            clock.check(packet.dts * stream.time_base)
        if packet.pts is not None:
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
    by_count = count / (stream.guessed_rate or Fraction(25))
    if first is None or stream.time_base is None:  # a raw stream
        return by_count
    # AVI's last packet lasts one tick, however long that is
    by_time = (last - first) * stream.time_base
    return max(by_time, by_count) if container.format.name == "avi" else by_time
