"""Shared by everything that reads or writes video: which paths and containers may be opened, and where ffmpeg is."""

import os
import re
import shutil
import stat
import struct
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import actloc
from actloc.errors import EnvironmentProblem, VideoError
from actloc.files import is_text

FRAMES_FILE = "frames.json"
"""File in a folder of extracted frames that states their rate and number."""

UNLISTED_FPS = 25
"""Frames per second by which times are expressed in a folder of frames that has no FRAMES_FILE, and so no rate."""
FRAME_NAME = re.compile(r"(?:img_)?(\d{5,6})\.(?:jpg|png)")
"""A frame's file in such a folder: 00001.jpg, 000001.png, img_00001.jpg. Optical flow, flow_x_00001.jpg, is none."""

MESSAGE = struct.Struct("<cII")
"""Header of each message from the decoding process: its kind, a count, and the number of bytes that follow."""
OPEN_VIDEOS = 4
"""Videos that a process which reads clips keeps open."""
LARGEST_SIDE = 16384
"""Pixels; a header that declares more is refused before memory is allocated."""
LONGEST_S = 48 * 3600
"""Seconds; later timestamps mean a broken clock, not a long video."""

# Containers that hold their own pictures or sound. Not here: lists of other files (concat, hls, dash, image2, sdp),
# which could make a text file named x.mp4 read any file. Sound is here to distinguish "no video" from "unreadable".
_CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "flv", "asf", "ogg", "mpeg"),
    *("mpegvideo", "h264", "hevc", "av1", "obu", "ivf", "m4v", "mxf", "dv", "gif", "nut", "rm", "wtv", "vc1"),
    *("yuv4mpegpipe", "mp3", "wav", "aac", "flac", "ac3", "aiff", "caf"),
)
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""For glibc; nothing elsewhere. A picture in RGB is freed as soon as it is resized. Its memory, 6 MB at 1080p, is kept
for the next one: returning it to the system and clearing it again took a sixth of the decoder's time."""
INPUT_OPTIONS = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "file,pipe"}
"""Options of every opened input: known containers only, nothing from the network."""


@dataclass(frozen=True)
class VideoFacts:
    """What a header declares: seconds, frames per second, and the size in pixels before any rotation."""

    duration_s: float
    fps: float
    width: int
    height: int


@dataclass(frozen=True)
class Span:
    """A part of a video, in seconds from its first frame; it is read as a file that holds only this part.

    Time zero is `start_s`, and the picture shown then is the first one. Pictures from `end_s` on are left out; None is
    the end of the video.
    """

    start_s: float = 0.0
    end_s: float | None = None

    @classmethod
    def from_json(cls, ends: list[float | None] | None) -> Self | None:
        """The part that `to_json` describes; None is the whole video."""
        return None if ends is None else cls(ends[0] or 0.0, ends[1])

    def to_json(self) -> list[float | None]:
        """Both ends, for a message."""
        return [self.start_s, self.end_s]

    def after_start(self, time_s: Fraction) -> Fraction:
        """A time in the video as a time in this part."""
        return time_s - Fraction(self.start_s)

    def cuts(self, time_s: Fraction) -> bool:
        """Whether the part ends at this time of the video, or before it."""
        return self.end_s is not None and time_s >= Fraction(self.end_s)

    def length(self, end_s: Fraction) -> Fraction:
        """Seconds of this part of a video that ends at `end_s`."""
        last_s = end_s if self.end_s is None else min(end_s, Fraction(self.end_s))
        return max(self.after_start(last_s), Fraction(0))


@dataclass(frozen=True)
class Survey:
    """Facts about the pictures of a video, before any is decoded but the first."""

    num_frames: int
    duration_s: float
    is_variable: bool
    """Whether the time from one picture to the next varies."""
    shortest_s: float
    """Between two pictures, as the longest; 0 where the format states no times."""
    longest_s: float
    rotation: int
    """Degrees by which players turn the picture."""
    fault: str
    """Why decoding would fail, as `truncated: ...`; empty if nothing shows it."""


@dataclass(frozen=True)
class Playback:
    """What a player needs to know of a video file; names are FFmpeg's."""

    container: str
    """All names of the format: `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    profile: str
    pixels: str
    """The form of the pixels, such as yuv420p."""
    sound: str
    """The codec of the first sound; empty without sound."""
    offset_s: float
    """When the first picture is shown, counted from the first sound or picture, as players count."""
    duration_s: float
    """From the first picture on."""


def checked_path(path: Path, *, unlisted_folders: bool = False) -> Path:
    """The absolute path of a regular file or of a folder of extracted frames; raises VideoError `not_a_file`.

    Addresses, `-`, pipes and devices are never opened, and folders without FRAMES_FILE only with `unlisted_folders`.
    """
    if not is_text(str(path)):  # nothing could be written about it
        raise VideoError("unsupported", f"the name {str(path)!r} is not UTF-8", "a name in UTF-8", "other bytes")
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise VideoError("not_a_file", f"cannot read {path}: {reason}", "a regular file", "nothing") from error
    if stat.S_ISDIR(mode) and (unlisted_folders or (path / FRAMES_FILE).is_file()):
        return path.absolute()
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise VideoError("not_a_file", f"{path} is not a file", "a regular file", kind)
    if path.stat().st_size == 0:
        raise VideoError("unreadable", f"{path} is empty", "a video", "0 bytes")
    return path.absolute()


def find_ffmpeg() -> str:
    """The ffmpeg on PATH, else the one inside imageio-ffmpeg; raises EnvironmentProblem if there is neither."""
    on_path = shutil.which("ffmpeg")
    if on_path:
        return on_path
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise EnvironmentProblem(
            "ffmpeg not found: neither on PATH nor in the Python package imageio-ffmpeg.",
            "Expected one of the two, to read, write and re-encode videos.",
            "Run: pip install imageio-ffmpeg, or install your system's package ffmpeg.",
        ) from error


def input_arguments(path: Path) -> list[str]:
    """ffmpeg arguments that open `path` as a regular file, even if its name looks like an address or an option."""
    options = [text for key, value in INPUT_OPTIONS.items() for text in (f"-{key}", value)]
    return [*options, "-i", f"file:{path}"]


def ffmpeg_command(arguments: list[str]) -> list[str]:
    """The command that runs ffmpeg without a banner or keyboard input, and only as long as its parent lives."""
    return python_command("die_with_parent", find_ffmpeg(), "-nostdin", "-hide_banner", *arguments)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs `actloc.video.<module>` in a new interpreter; use it with `python_environment`."""
    return [sys.executable, "-P", "-m", f"actloc.video.{module}", *arguments]


def python_environment() -> dict[str, str]:
    """The environment in which a new interpreter imports this same package, and nothing from the working folder.

    With glibc it keeps memory that it frees, for the next picture.
    """
    root = str(Path(actloc.__file__).parents[1])
    others = os.environ.get("PYTHONPATH")
    return {**_KEPT_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join([root, others] if others else [root])}
