"""What the packets of a video file say beyond its header, without decoding it: gaps, a variable rate, a missing end."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from actloc.errors import VideoError
from actloc.video.base import Survey
from actloc.video.readers import pyav
from actloc.video.readers.base import DecodingStats, opened, packets, video_stream

_ODD_INTERVAL = 0.25
"""Share of the usual interval by which another interval differs, so that it is not a matter of rounding."""
_ODD_SHARE = 0.02
"""Share of odd intervals that makes the rate variable; one or two are a pause or a lost frame."""
_ANY_TIMES = ("avi", "h264", "hevc", "mpegvideo", "m4v")
"""Formats that state no time of each picture."""


def survey(path: Path) -> Survey:
    """Reads the packets and decodes the first picture; raises VideoError for what is no video."""
    with opened(path) as container:
        stream = video_stream(container)
        promised = pyav.declared(container, stream)
        stats, stamps = DecodingStats(), list[int]()
        _read(container, stream, stats, stamps)
    tick_s = float(stream.time_base or 0) if container.format.name not in _ANY_TIMES else 0.0
    stamps.sort()
    intervals = [(later - one) * tick_s for one, later in pairwise(stamps) if later > one]
    usual = median(intervals) if intervals else 0.0
    odd = sum(abs(one - usual) > max(_ODD_INTERVAL * usual, 1.5 * tick_s) for one in intervals)
    fault = ""
    try:
        stats.check(promised)
    except VideoError as error:
        fault = str(error)
    return Survey(
        num_frames=stats.frames,
        duration_s=float(stats.end_s),
        is_variable=odd > max(2, _ODD_SHARE * len(intervals)),
        shortest_s=min(intervals, default=0.0),
        longest_s=max(intervals, default=0.0),
        rotation=_rotation(path),
        fault=fault,
    )


def _read(container: InputContainer, stream: VideoStream, stats: DecodingStats, stamps: list[int]) -> None:
    """Counts pictures and notes their timestamps; a container that is cut off ends early."""
    ends: list[Fraction] = []
    tick = stream.time_base or Fraction(0)
    usual = 1 / (stream.guessed_rate or stream.average_rate or Fraction(25))
    try:
        for packet in packets(container):
            if packet.stream.index != stream.index:
                stats.count_other(packet)
                continue
            if not packet.size or packet.is_discard:
                continue
            stats.frames += 1
            stats.errors += packet.is_corrupt
            if packet.pts is not None:
                stamps.append(packet.pts)
                ends.append((packet.pts + (packet.duration or 0)) * tick + (0 if packet.duration else usual))
    except av.FFmpegError:
        stats.errors += 1
    if stamps:
        stats.start_s = min(stamps) * tick
        stats.end_s = max(ends) - stats.start_s
    else:
        stats.end_s = stats.frames * usual


def _rotation(path: Path) -> int:
    """That of the first picture that decodes; 0 if none does."""
    try:
        with opened(path) as container:
            stream = video_stream(container)
            return int(next(container.decode(stream)).rotation)
    except (av.FFmpegError, StopIteration):
        return 0
