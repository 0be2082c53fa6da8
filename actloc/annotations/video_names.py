"""Which of a folder's videos a name means that people or other tools wrote."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from actloc import console

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".ogv"}
    | {".3gp"}
)
_OF_OTHER_TOOLS = frozenset({".eaf", ".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus"})
"""Suffixes of files that annotate a video, or are its sound, and have its name."""
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)", re.DOTALL)
"""Label Studio puts eight hexadecimal digits before the name of a file that is uploaded."""


class VideoNames:
    """The ids of videos, found by id, file name or path, also one of another machine or in another letter case."""

    def __init__(self, ids: Iterable[str] | None) -> None:
        """`ids` are those that there are; None where there are no videos, and every name is that of one."""
        self._any = ids is None
        self._ids = frozenset(ids or ())
        self._alike: dict[str, list[str]] = {}
        for video_id in self._ids:
            self._alike.setdefault(_alike(video_id), []).append(video_id)

    def find(self, text: str) -> str | None:
        """The id that a name means; None if there is none, or if several differ from it in letter case only.

        The digits before the name of an uploaded file are ignored if the video without them is there.
        """
        uploaded = _UPLOADED.fullmatch(_parts(text)[-1])
        return self._found(text) or (self._found(uploaded[1]) if uploaded and not self._any else None)

    def _found(self, text: str) -> str | None:
        *folders, name = _parts(text)
        names = [text, without_suffix(text)]
        if ".." not in folders:
            names += [name, without_suffix(name)]
            if self._any:
                return without_suffix(name) or None
        exact = next((each for each in names if each in self._ids), None)
        if exact is not None:
            return exact
        alike = next((self._alike[_alike(each)] for each in names if _alike(each) in self._alike), [])
        return alike[0] if len(alike) == 1 else None

    def nearest(self, text: str) -> str:
        """`. Did you mean X?` for a name that none has, or a dot."""
        return console.nearest(without_suffix(_parts(text)[-1]), self._ids, lists_known=False)


def _parts(text: str) -> list[str]:
    return re.split(r"[/\\]", text)  # Windows paths too


def without_suffix(text: str) -> str:
    """The name without the suffix of a video."""
    suffix = Path(text).suffix
    return text.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES | _OF_OTHER_TOOLS else text


def _alike(name: str) -> str:
    """The same for names that differ in letter case, or in how accents are written: macOS writes them apart."""
    return unicodedata.normalize("NFC", name).casefold()
