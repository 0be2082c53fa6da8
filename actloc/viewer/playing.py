"""Which file a browser plays for a video: the video itself, a converted copy of it, or none, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actloc.errors import EnvironmentProblem, VideoError
from actloc.video.base import Playback, checked_path
from actloc.video.reader import playback
from actloc.viewer.converting import Converter
from actloc.viewer.viewed import ViewedVideo

_MP4, _MATROSKA = "video/mp4", "video/webm"
_CODECS = {_MP4: {"h264", "vp9", "av1"}, _MATROSKA: {"h264", "vp8", "vp9", "av1"}}
"""What current browsers play from a container; where one does not, the page offers the conversion."""
_PIXELS = {"yuv420p", "yuvj420p"}
_NAMES = {"hevc": "HEVC (H.265)", "h264": "H.264", "mpeg4": "MPEG-4 Part 2", "mpeg2video": "MPEG-2", "vc1": "VC-1"}
_CONTAINERS = {"avi": "AVI", "mpegts": "MPEG-TS", "flv": "FLV", "asf": "WMV", "mpeg": "MPEG-PS", "ogg": "Ogg"}


@dataclass(frozen=True)
class Playing:
    """What the page gets to know of a video's file."""

    state: Literal["plays", "converts", "none"]
    """converts: it can be converted, or is being converted."""
    reason: str = ""
    """Why the file itself does not play."""
    offset_s: float = 0.0
    """Added to times of segments to get those of the player."""
    duration_s: float | None = None


def playing(video: ViewedVideo) -> Playing:
    """What a browser can do with the video's file."""
    if video.file is None:
        return Playing("none", video.without)
    try:
        if checked_path(video.file).is_dir():
            return Playing("none", f"{video.file} is a folder of frames, and browsers play files only.")
        facts = playback(video.file)
    except VideoError as error:
        return Playing("none", f"{video.file} cannot be read: {error}")
    except EnvironmentProblem as error:
        return Playing("none", str(error))
    reason = _unplayable(facts)
    return Playing("converts" if reason else "plays", reason, facts.offset_s, facts.duration_s)


def media_type(file: Path, facts: Playing) -> str:
    """The type to serve a file as: matroska is named by its suffix, since webm is a part of it."""
    return _MATROSKA if facts.state == "plays" and file.suffix.lower() in (".mkv", ".webm") else _MP4


def _unplayable(facts: Playback) -> str:
    """Why browsers do not play such a file; empty if they do."""
    names = facts.container.split(",")
    kind = _MP4 if "mp4" in names else _MATROSKA if "webm" in names else None
    codec = _NAMES.get(facts.codec, facts.codec)
    if kind is None:
        container = _CONTAINERS.get(names[0], names[0])
        return f"Browsers do not play the container {container} (here with {codec})."
    if facts.codec not in _CODECS[kind]:
        return f"Most browsers do not play {codec}."
    if facts.codec == "h264" and facts.pixels not in _PIXELS:
        return f"Browsers do not play {codec} with pixels in the form {facts.pixels}."
    return ""


def served_file(video: ViewedVideo, facts: Playing, converter: Converter) -> Path | None:
    """The file to send for the video; None if there is none yet."""
    if video.file is None or facts.state == "none":
        return None
    copy = converter.copy_of(video.file)
    return copy or (video.file if facts.state == "plays" else None)
