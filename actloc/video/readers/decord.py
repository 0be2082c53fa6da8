"""decord, kept for comparison: correct on files of constant rate with closed groups of pictures.

It does not wait for its consumer and decodes the rest of the file into memory, unless it seeks to the start after each
batch. Seeking decodes again from the last keyframe, and returns wrong frames for open groups, MPEG-TS and AVI; in
truncated files, frames are repeated.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.base import VideoFacts
from actloc.video.readers import pyav
from actloc.video.readers.base import Declared, DecodingStats, Picture, check_size, opened, video_stream

_WHERE_IT_RAISED = re.compile(r"\[[\d:]+\] \S+:\d+: ")
_BATCH_BYTES = 64 << 20  # decord needs about three times as much


def pictures(path: Path, stats: DecodingStats) -> Iterator[Picture]:
    """Every picture that decord returns, decoded in batches of consecutive ones."""
    import decord

    header = facts(path)  # PyAV refuses a list of files named x.mp4, which decord would follow
    try:
        yield from _pictures(decord.VideoReader(str(path), num_threads=1), header, stats)
    except (decord.DECORDError, RuntimeError) as error:  # the first when opening, the second while decoding
        detail = _WHERE_IT_RAISED.sub("", str(error).partition("\n")[0])
        raise VideoError("unreadable", detail, "a video that decord can read", "something else") from error


def _pictures(reader: Any, header: VideoFacts, stats: DecodingStats) -> Iterator[Picture]:  # Any: decord has no types
    at_once = max(_BATCH_BYTES // max(3 * header.width * header.height, 1), 1)
    first_s = None
    for first in range(0, len(reader), at_once):
        numbers = range(first, min(first + at_once, len(reader)))
        for number, rgb in zip(numbers, _batch(reader, numbers), strict=True):
            times = reader.get_frame_timestamp(number)
            start_s, end_s = (Fraction(float(time)).limit_denominator(90000) for time in times)
            first_s = start_s if first_s is None else first_s
            height, width = rgb.shape[:2]
            check_size(width, height)
            stats.width, stats.height = width, height
            stats.frames += 1
            stats.end_s = end_s - first_s
            yield Picture(max(start_s - first_s, Fraction(0)), av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    stats.check(Declared(Fraction(len(reader))))


def _batch(reader: Any, numbers: range) -> NDArray[np.uint8]:  # Any: decord has no types
    """RGB frames (n, H, W, 3)."""
    batch = reader.get_batch(list(numbers))
    reader.seek(0)
    frames: NDArray[np.uint8] = batch.asnumpy()
    return frames


def facts(path: Path) -> VideoFacts:
    """The header's facts as PyAV reads them; decord gives no more."""
    with opened(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        duration_s = float(stream.duration or 0) * float(stream.time_base or 0)
        return VideoFacts(duration_s, float(stream.average_rate or 0), context.width, context.height)


def rate(path: Path, report_progress: Callable[[], None]) -> Fraction:
    """Frames per second, as PyAV reads it."""
    return pyav.rate(path, report_progress)
