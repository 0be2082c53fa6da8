"""An ffmpeg process as the reader: slower to start, and isolated from crashes; also the fallback of pyav."""

import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from threading import Thread
from typing import IO

import av

from actloc.errors import VideoError
from actloc.video.base import VideoFacts, ffmpeg_command, input_arguments, python_environment
from actloc.video.readers import joined, spans
from actloc.video.readers.base import (
    Declared,
    DecodingStats,
    Picture,
    decoded,
    meant_rate,
    rate_of_stamps,
    video_stream,
)

_PIPE_BYTES = 1 << 20
_HEADER_TIMEOUT_S = 30
_PRINTED_TO = Fraction(5, 1000)  # frames per second, printed with two digits: 23.98 is 24000/1001
_NO_STAMP = -(2**63)
_DURATION = re.compile(r"Duration: (\d+):(\d+):(\d+\.\d+)(?:, start: (-?\d+\.\d+))?")
_VIDEO = re.compile(r"Stream #.*Video: .*?, (\d+)x(\d+)(?!.*\(attached pic\))")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(k?) (?:fps|tbr)")
_RATE_OF_AVI = re.compile(r"(\d+(?:\.\d+)?)(k?) tbr")  # its fps are ticks, with or without a frame


def pictures(path: Path, stats: DecodingStats) -> Iterator[Picture]:
    """Every picture of the file's video, upright; raises VideoError, at the end if pictures are missing."""
    header = _header(path)
    # Raw pictures in a NUT container keep their timestamps; 1/90000 s counts every standard frame rate exactly.
    raw = ["-f", "nut", "-c:v", "rawvideo", "-pix_fmt", "rgb24", "-enc_time_base", "1:90000", "pipe:1"]
    arguments = ["-loglevel", "error", *input_arguments(path), "-map", "0:V:0", "-fps_mode", "passthrough", *raw]
    with subprocess.Popen(
        ffmpeg_command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=python_environment(),
    ) as process:
        assert process.stdout, "it was asked for"
        assert process.stderr, "it was asked for"
        complaints: deque[str] = deque(maxlen=3)
        listener = Thread(target=_collect, args=(process.stderr, complaints), daemon=True)
        listener.start()
        try:
            yield from _from_pipe(process.stdout, stats)
        finally:
            process.kill()
            listener.join()
    if not stats.frames and complaints:
        raise VideoError("unreadable", " ".join(complaints), "a video", "nothing")
    stats.check(_declared(header, had_trouble=bool(complaints)))
    if "Input #0, mpeg" in header:
        spans.check(path, stats)


def facts(path: Path) -> VideoFacts:
    """The facts ffmpeg prints about the header."""
    header = _header(path)
    video = _VIDEO.search(header)
    assert video, "the header was checked"
    return VideoFacts(float(_duration(header) or 0), float(_rate(header) or 0), int(video[1]), int(video[2]))


def rate(path: Path, report_progress: Callable[[], None]) -> Fraction:
    """The rate of the packets' timestamps, without decoding, or else the header's; 0 if neither states one."""
    header = _header(path)
    stated = meant_rate(_rate(header) or Fraction(0), _PRINTED_TO)
    if _is_avi(header):
        return stated
    copied = ["-map", "0:V:0", "-c", "copy", "-f", "framecrc", "pipe:1"]
    with subprocess.Popen(
        ffmpeg_command(["-loglevel", "error", *input_arguments(path), *copied]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=python_environment(),
        text=True,
        errors="replace",  # it prints names from the file
    ) as process:
        assert process.stdout, "it was asked for"
        tick = next((line.split()[2] for line in process.stdout if line.startswith("#tb 0:")), "0")
        return rate_of_stamps(_stamps(process.stdout), Fraction(tick), stated, report_progress) or stated


def _stamps(packets: IO[str]) -> Iterator[int]:
    """Timestamps from framecrc's table `stream, dts, pts, ...`; a raw stream has decoding times only."""
    for line in packets:
        if not line.startswith("#"):
            decoding, presentation = map(int, line.split(",")[1:3])
            yield decoding if presentation == _NO_STAMP else presentation


def _header(path: Path) -> str:
    """What ffmpeg prints about the file; raises VideoError if there is no video stream."""
    joined.check(path)
    try:
        process = subprocess.run(
            ffmpeg_command(["-loglevel", "info", *input_arguments(path)]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_HEADER_TIMEOUT_S,
            env=python_environment(),
            check=False,  # without an output file, ffmpeg always exits with 1
        )
    except subprocess.TimeoutExpired as error:
        expected = f"an answer within {_HEADER_TIMEOUT_S} s"
        raise VideoError("timeout", "ffmpeg did not respond", expected, "none") from error
    header = process.stderr.decode("utf-8", "replace")
    if "Input #0" not in header:
        raise VideoError("unreadable", header.strip().rpartition("\n")[2], "a video", "something else")
    if not _VIDEO.search(header):
        kind = "sound" if "Audio:" in header else "nothing"
        raise VideoError("no_video_stream", "the file has no video stream", "a video stream", kind)
    return header


def _duration(header: str) -> Fraction | None:
    """Seconds from the start to the end of the file."""
    found = _DURATION.search(header)
    if not found:
        return None
    hours, minutes, seconds, start = found.groups()
    counts_from_zero = re.search(r"Input #0, (matroska|flv)", header) is not None
    start_s = Fraction(start or 0) if counts_from_zero else Fraction(0)
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - start_s


def _rate(header: str) -> Fraction | None:
    for line in header.splitlines():
        pattern = _RATE_OF_AVI if _is_avi(header) else _RATE
        rate = pattern.search(line) if _VIDEO.search(line) else None
        if rate:
            return Fraction(rate[1]) * (1000 if rate[2] else 1)
    return None


def _is_avi(header: str) -> bool:
    return "Input #0, avi" in header


def _declared(header: str, *, had_trouble: bool) -> Declared:
    """The header's rate, and its duration if it is reliable: ffmpeg reported errors, or no sound could be longer.

    In other formats the duration is ffmpeg's own estimate.
    """
    is_stated = re.search(r"Input #0, (mov|matroska|flv|asf)", header) is not None
    is_reliable = is_stated and (had_trouble or "Audio:" not in header)
    return Declared(None, _duration(header) if is_reliable else None, _rate(header))


def _from_pipe(pipe: IO[bytes], stats: DecodingStats) -> Iterator[Picture]:
    try:
        container = av.open(pipe, "r", format="nut", buffer_size=_PIPE_BYTES, metadata_errors="replace")
    except (av.FFmpegError, OSError):
        return  # ffmpeg ended before the first picture; its error messages say why
    with container:
        yield from decoded(container, video_stream(container), stats)


def _collect(pipe: IO[bytes], lines: deque[str]) -> None:
    for line in pipe:
        lines.append(line.decode("utf-8", "replace").strip())
