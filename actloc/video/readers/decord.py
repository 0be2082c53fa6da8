"""decord, kept for comparison: it repeats frames of cut files and does not wait for its consumer (spec: video_io)."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from actloc.video.base import VideoFacts
from actloc.video.readers import pyav
from actloc.video.readers.base import Account, Picture, Promise, check_size, opened, video_stream


def pictures(path: Path, account: Account) -> Iterator[Picture]:
    """Every picture that decord gives, one after the other."""
    import decord

    facts(path)  # decord itself would follow a list of files named x.mp4
    reader = decord.VideoReader(str(path), num_threads=1)
    first_s = None
    for number in range(len(reader)):
        rgb = reader.next().asnumpy()
        start_s, end_s = (Fraction(float(time)).limit_denominator(90000) for time in reader.get_frame_timestamp(number))
        first_s = start_s if first_s is None else first_s
        height, width = rgb.shape[:2]
        check_size(width, height)
        account.width, account.height = width, height
        account.frames += 1
        account.end_s = end_s - first_s
        yield Picture(max(start_s - first_s, Fraction(0)), av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    account.check(Promise(Fraction(len(reader))))


def facts(path: Path) -> VideoFacts:
    """The header's facts as PyAV reads them; decord tells no more."""
    with opened(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        duration_s = float(stream.duration or 0) * float(stream.time_base or 0)
        return VideoFacts(duration_s, float(stream.average_rate or 0), context.width, context.height)


def rate(path: Path, is_alive: Callable[[], None]) -> Fraction:
    """Frames per second, as PyAV finds it."""
    return pyav.rate(path, is_alive)
