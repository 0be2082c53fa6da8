"""Finds pictures of a broadcast that a decoder passes over without an error.

Where recordings of other codecs or streams were joined byte after byte, decoders read the pictures of some and ignore
the others. Their packets tell: they last longer than the pictures that were decoded.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from actloc.errors import VideoError
from actloc.video.readers.base import DecodingStats, opened, video_stream

_FORMATS = ("mpegts", "mpeg")
"""Of other formats decoders read the first recording, which `joined` finds, or the clock shows that there are more."""
_LONGEST_STEP_S = 10
"""A longer step from one packet to the next, or one back, is a jump of the clock, in which nothing is shown."""
_LOST_S = 1
_LOST_SHARE = Fraction(5, 100)
"""Pictures of more seconds, and of a larger share of the video, do not get lost by damage that goes unnoticed."""
_HELD_BACK = 3
"""Packets of a stream that demuxers return only after the first ones of the next."""


@dataclass
class _Stream:
    """The packets of one stream of pictures."""

    count: int = 0
    length_s: Fraction = Fraction(0)
    last_s: Fraction | None = None

    def add(self, packet: "av.Packet[av.video.stream.VideoStream]") -> None:
        """Counts a packet, and the time since the one before."""
        self.count += 1
        if packet.dts is None or packet.time_base is None:
            return
        time_s = packet.dts * packet.time_base
        if self.last_s is not None and 0 < time_s - self.last_s <= _LONGEST_STEP_S:
            self.length_s += time_s - self.last_s
        self.last_s = time_s


def check(path: Path, stats: DecodingStats) -> None:
    """Raises VideoError `unsupported` if a file of these formats has pictures that `stats` do not count."""
    with opened(path) as container:
        if container.format.name not in _FORMATS:
            return
        decoded = video_stream(container).index
        found = {one.index: _Stream() for one in container.streams.video}
        own = found[decoded]
        own_after, others_after = Counter[int](), Counter[int]()
        try:
            for packet in container.demux(video=tuple(range(len(found)))):
                number = packet.stream.index
                is_before = number == decoded and not own.count and not packet.is_keyframe
                if not packet.size or is_before:
                    continue  # a broadcast is joined midway: what comes before the first keyframe cannot be decoded
                found[number].add(packet)
                own_after.update(other for other in found if number == decoded and found[other].count)
                others_after[number] += own.count > 0
        except (av.FFmpegError, IndexError):  # cut off, which decoding reports, or a stream that begins midway
            pass
    lost_s = own.length_s - stats.end_s
    for number, other in found.items():
        are_apart = min(own_after[number], others_after[number]) <= _HELD_BACK < other.count
        lost_s = max(lost_s, other.length_s) if are_apart and other is not own else lost_s
    if lost_s <= _LOST_S or lost_s <= _LOST_SHARE * (stats.end_s + lost_s):
        return
    raise VideoError(
        "unsupported",
        f"{float(lost_s):.1f} s of pictures are in another codec or stream, as where recordings were joined into one "
        "file; use the recordings one by one, or convert each to one codec and join them: "
        "ffmpeg -f concat -i LIST.txt -c copy NEW.mp4",
        "pictures of one recording",
        "those of several",
    )
