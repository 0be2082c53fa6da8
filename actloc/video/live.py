"""What `watch` reads: a file, a named pipe, a camera, or an address with one of a few protocols. Nothing else does."""

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from actloc import console
from actloc.errors import UserError
from actloc.settings.choices import ReaderName
from actloc.video import step_messages
from actloc.video.base import INPUT_OPTIONS
from actloc.video.frame_transforms import FrameStep
from actloc.video.reader import FrameReader, Rate, check_installed

PROTOCOLS = {"tcp": ("tcp",), "rtsp": ("rtsp", "rtp", "udp", "tcp")}
"""The protocols of addresses, each with those that it needs itself."""
_EXPECTED = "Expected a file, a named pipe, a camera such as /dev/video0, tcp://HOST:PORT or rtsp://ADDRESS."
_CONTAINERS = tuple(INPUT_OPTIONS["format_whitelist"].split(","))
_SILENT_S = 10.0
_FOREVER_S = 30 * 86400.0


@dataclass(frozen=True)
class LiveSource:
    """A source of pictures that cannot be read twice."""

    name: str
    """As it was typed, without a password."""
    url: str
    protocols: tuple[str, ...]
    formats: tuple[str, ...]
    is_retried: bool
    """Whether its end is a lost connection, which is opened again."""
    retry_s: float = 0.0
    silent_s: float = _SILENT_S
    """Without data for this long, a connection is lost."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:  # Any: JSON values
        """The source that `asdict` described."""
        lists = {name: tuple(values[name]) for name in ("protocols", "formats")}
        return cls(**(values | lists))


def source_named(text: str, retry_s: float) -> Path | LiveSource:
    """A file as its path, anything else as a live source; raises UserError for what cannot be watched.

    A connection that is lost is tried again for `retry_s` seconds.
    """
    if "://" in text:
        return _address(text, retry_s)
    path = Path(text)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{text} cannot be read: {error.strerror}.", _EXPECTED, _meant(text)) from error
    if stat.S_ISREG(mode):
        return path
    # another process reads the pictures, whose standard input is ours
    if os.path.realpath(path).startswith(("/proc/", "/dev/fd/", "/dev/stdin")):
        raise UserError(f"{text} is no file of its own.", _EXPECTED, _meant("-"))
    if stat.S_ISFIFO(mode):  # whoever writes may take its time
        return LiveSource(text, f"file:{path.absolute()}", ("file", "pipe"), _CONTAINERS, False, silent_s=_FOREVER_S)
    if stat.S_ISCHR(mode) and re.fullmatch(r"video\d+", path.name):
        return LiveSource(text, os.fspath(path.absolute()), ("file",), ("video4linux2",), True, retry_s)
    raise UserError(
        f"{text} is {'a folder' if stat.S_ISDIR(mode) else 'no source of video'}.",
        _EXPECTED,
        "Name one of these; `predict` takes folders of videos.",
    )


def _address(text: str, retry_s: float) -> LiveSource:
    """Raises UserError for a protocol that is not read, or an address that cannot be one."""
    scheme, shown = text.partition("://")[0], _without_password(text)
    if scheme not in PROTOCOLS:
        raise UserError(
            f"{shown} has the protocol {scheme}{console.nearest(scheme, PROTOCOLS)}",
            _EXPECTED,
            "Let ffmpeg read it: ffmpeg -i ADDRESS -c copy -f mpegts PIPE, with a PIPE made by mkfifo",
        )
    try:
        host, port = urlsplit(text).hostname, urlsplit(text).port
    except ValueError as error:
        raise UserError(f"{shown} has no port that can be one.", _EXPECTED, "Correct the number after `:`.") from error
    if not host or (scheme == "tcp" and port is None):
        part = "address" if not host else "port"
        raise UserError(f"{shown} has no {part}.", "Expected one such as tcp://127.0.0.1:9000.", f"Add the {part}.")
    formats = ("rtsp",) if scheme == "rtsp" else _CONTAINERS
    return LiveSource(shown, text, PROTOCOLS[scheme], formats, True, retry_s)


def _meant(text: str) -> str:
    """What to do instead of naming a path that does not exist."""
    if text == "-":
        return "Make a named pipe, write the video to it, and watch it: mkfifo PIPE"
    if re.fullmatch(r"\d|/dev/video\d+", text):
        cameras = sorted(map(str, Path("/dev").glob("video*")))
        return f"This machine has {', '.join(cameras) or 'no /dev/video0 or its like'}."
    with_protocol = re.fullmatch(rf"({'|'.join(PROTOCOLS)}):/*(.+)", text)
    address = with_protocol or re.fullmatch(r"()([\w.-]+:\d+.*)", text)
    return f"Did you mean {address[1] or 'tcp'}://{address[2]}?" if address else "Check the path."


def _without_password(text: str) -> str:
    return re.sub(r"(://)[^/@]*@", r"\1", text)


def read_live(
    source: LiveSource,
    *,
    fps: Rate,
    decode_fps: Rate | None,
    steps: Sequence[FrameStep],
    reader: ReaderName,
    timeout_s: float,
    say: Callable[[str], None],
    check_stop: Callable[[], None] = lambda: None,
) -> FrameReader:
    """As `actloc.video.reader.read_frames`, of a live source; `say` takes what is said of the connection."""
    check_installed(reader, steps)
    request = {"task": "live", "path": source.name, "source": asdict(source), "fps": fps, "decode_fps": decode_fps}
    longest_s = max(timeout_s, source.silent_s + _SILENT_S)
    return FrameReader({**request, "steps": step_messages.to_json(steps)}, longest_s, check_stop, say)
