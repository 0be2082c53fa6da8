"""WebVTT subtitles: cues whose text is the label; hours may be missing, and notes are passed over."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo
from actloc.annotations.source_file import SourceFile
from actloc.annotations.subtitles import cue_text, text_of, with_labels
from actloc.annotations.times import clock, seconds_of

_TIME = r"(?:\d+:)?\d\d:\d\d\.\d\d\d"
_TIMES = re.compile(rf"\s*({_TIME})\s+-->\s+({_TIME})(?:\s.*)?")
_NO_CUE = re.compile(r"(NOTE|STYLE|REGION)(\s|$)")


class Config(FormConfig):
    """The video is that of the file's name; tags and the settings of cues are dropped."""

    title: ClassVar[str] = "subtitles (WebVTT)"
    short_name: ClassVar[str] = "vtt"
    suffix: ClassVar[str] = ".vtt"
    has_file_per_video: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By the first word."""
        return re.match(r"WEBVTT(\s|$)", file.head) is not None

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Block by block; a blank line ends one."""
        listed, lines, at = Listed(), file.text.split("\n"), 0
        while at < len(lines):
            end = next((line for line in range(at, len(lines)) if not lines[line].strip()), len(lines))
            block = lines[at:end]
            times = next((number for number, line in enumerate(block[:2]) if "-->" in line), None)
            if times is not None and not _NO_CUE.match(block[0]):
                _add(listed, file, at + times, block[times:])
            at = end + 1
        return with_labels(listed)

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One video; players show cues that overlap together."""
        (video,) = videos
        cues = [
            f"{clock(start_ms, '.')} --> {clock(end_ms, '.')}\n{cue_text(one)}\n"
            for start_ms, end_ms, one in video.in_ms
        ]
        return {target: "\n".join(["WEBVTT\n", *cues])}


def _add(listed: Listed, file: SourceFile, number: int, cue: list[str]) -> None:
    match, where = _TIMES.fullmatch(cue[0]), f"{file.path}:{number + 1}"
    start_s, end_s = (seconds_of(match[1]), seconds_of(match[2])) if match else (None, None)
    if start_s is None or end_s is None:
        listed.leave_out(where, f"cannot read the times {cue[0].strip()!r:.60}")
    else:
        listed.rows.append(Row(file.video, start_s, end_s, text_of(cue[1:]), where))
