"""Reads a folder of JPEG frames that `ffmpeg.extract_frames` wrote: 000001.jpg ... and frames.json."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.codec import CodecContext

from actloc.errors import UserError, VideoError
from actloc.files import read_json
from actloc.video.base import FRAMES_FILE, VideoFacts
from actloc.video.readers.base import Declared, DecodingStats, Picture, check_size


def pictures(folder: Path, stats: DecodingStats) -> Iterator[Picture]:
    """Every frame of the folder; raises VideoError `truncated` if some are missing."""
    fps, count = _listed(folder)
    for number in range(count):
        file = folder / f"{number + 1:06d}.jpg"
        if not file.is_file():
            continue
        frame = _decoded(file)
        check_size(frame.width, frame.height)
        if not stats.frames:
            stats.width, stats.height = frame.width, frame.height
        stats.frames += 1
        stats.end_s = (number + 1) / fps
        yield Picture(number / fps, frame)
    stats.check(Declared(Fraction(count), count / fps, fps))


def facts(folder: Path) -> VideoFacts:
    """The rate and number of frames from frames.json, and the size of the first frame."""
    fps, count = _listed(folder)
    frame = _decoded(folder / "000001.jpg")
    return VideoFacts(float(count / fps), float(fps), frame.width, frame.height)


def rate(folder: Path, report_progress: Callable[[], None]) -> Fraction:
    """The rate from frames.json."""
    return _listed(folder)[0]


def _listed(folder: Path) -> tuple[Fraction, int]:
    try:
        listed = read_json(folder / FRAMES_FILE)
        fps, count = Fraction(listed["fps"]).limit_denominator(1_001_000), int(listed["count"])
        if fps <= 0 or count < 0:
            raise ValueError(f"fps {fps}, count {count}")
    except (UserError, TypeError, KeyError, ValueError, OverflowError) as error:
        expected = "an object with fps and count"
        found = error.found if isinstance(error, UserError) else str(error)
        raise VideoError("unreadable", f"{FRAMES_FILE} was not written by actloc", expected, found) from error
    return fps, count


def _decoded(file: Path) -> av.VideoFrame:
    decoder = CodecContext.create("mjpeg", "r")
    try:
        content = file.read_bytes()
        frames = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]
    except (av.FFmpegError, OSError) as error:
        raise VideoError("damaged", f"{file.name}: {error}", "a JPEG", "something else") from error
    if not frames or not isinstance(frames[0], av.VideoFrame):
        raise VideoError("damaged", f"{file.name} contains no picture", "a JPEG", "nothing")
    return frames[0]
