"""Pictures of a connection, a camera or a pipe, as they come; a lost connection is opened again.

Time goes on by the clock on the wall while there is no connection, so that later pictures have their true times; where
a sender is faster than that, they follow the last one.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from actloc.errors import VideoError
from actloc.video.live import LiveSource
from actloc.video.readers.base import DecodingStats, Picture, decoded, video_stream

_PAUSE_S = 0.5
"""From one try to the next."""


def pictures(
    source: LiveSource, stats: DecodingStats, say: Callable[[str], None], report_progress: Callable[[], None]
) -> Iterator[Picture]:
    """Every picture until the pipe ends, or until no connection could be made for `source.retry_s`.

    `say` takes one line when a connection is lost and one when it is back. Raises VideoError if there never was one.
    """
    began_s: float | None = None
    last_s, is_lost, reason = time.monotonic(), False, ""
    while True:
        try:
            container = _opened(source)
        except (av.FFmpegError, OSError, ValueError) as error:
            report_progress()  # looking for a host takes a while, and is done twice
            reason = _unknown_host(source) or getattr(error, "strerror", None) or str(error)
        else:
            if is_lost:
                say(f"{source.name}: connected again after {time.monotonic() - last_s:.1f} s")
                is_lost = False
            reason = "it ended"
            offset_s = stats.end_s if began_s is None else max(stats.end_s, Fraction(time.monotonic() - began_s))
            with closing(container):
                try:
                    for picture in _of_connection(container, offset_s, stats):
                        began_s = time.monotonic() if began_s is None else began_s
                        last_s = time.monotonic()
                        yield picture
                except VideoError as error:
                    if not source.is_retried:
                        raise
                    reason = error.detail
        if not source.is_retried:
            if began_s is None:
                raise VideoError("unreadable", f"no picture from {source.name}: {reason}", "a video", "none")
            return
        if time.monotonic() - last_s > source.retry_s:
            if began_s is None:
                raise VideoError("unreadable", f"no connection to {source.name}: {reason}", "a video", "none")
            say(f"{source.name}: no connection for {source.retry_s:g} s, so this is taken as its end")
            return
        if not is_lost:
            say(f"{source.name}: no connection ({reason}); trying again for {source.retry_s:g} s")
            is_lost = True
        report_progress()
        time.sleep(_PAUSE_S)


def _unknown_host(source: LiveSource) -> str:
    """What is said of a name that is no host, for which FFmpeg has no better word than an input or output error."""
    host = urlsplit(source.url).hostname
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        return f"{host}: {error.strerror}" if host else ""
    return ""


def _opened(source: LiveSource) -> InputContainer:
    options = {"protocol_whitelist": ",".join(source.protocols), "format_whitelist": ",".join(source.formats)}
    form = source.formats[0] if len(source.formats) == 1 else None
    return av.open(
        source.url, format=form, options=options, metadata_errors="replace", timeout=(source.silent_s, source.silent_s)
    )


def _of_connection(container: InputContainer, offset_s: Fraction, stats: DecodingStats) -> Iterator[Picture]:
    """The pictures at times from `offset_s` on; adds to the counts of the connections before."""
    own, frames, corrupt = DecodingStats(), stats.frames, stats.corrupt_frames
    for picture in decoded(container, video_stream(container), own):
        stats.width, stats.height = stats.width or own.width, stats.height or own.height
        stats.frames, stats.corrupt_frames = frames + own.frames, corrupt + own.corrupt_frames
        stats.end_s = offset_s + own.end_s
        yield Picture(offset_s + picture.time_s, picture.frame)
