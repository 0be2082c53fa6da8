"""SubRip subtitles (SRT): numbered cues whose text is the label."""

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

_TIMES = re.compile(r"\s*(\d+:\d\d:\d\d[,.]\d+)\s*-->\s*(\d+:\d\d:\d\d[,.]\d+)(?:\s.*)?")
_FIRST = re.compile(r"\s*\d+[ \t]*\n[ \t]*\d+:\d\d:\d\d[,.]\d+[ \t]*-->")


class Config(FormConfig):
    """The video is that of the file's name; tags such as <i> are dropped."""

    title: ClassVar[str] = "subtitles (SRT)"
    reads_any_text: ClassVar[bool] = True
    suffix: ClassVar[str] = ".srt"
    has_file_per_video: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By the first cue."""
        return _FIRST.match(file.head) is not None

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Cue by cue; a blank line ends one, and so does the number of the next where the blank line is missing."""
        listed, lines = Listed(), file.text.split("\n")
        for number, line in enumerate(lines):
            match = _TIMES.fullmatch(line)
            where = f"{file.path}:{number + 1}"
            if match is None:
                if "-->" in line:
                    listed.leave_out(where, f"cannot read the times {line.strip()!r:.60}")
                continue
            end = next((at for at in range(number + 1, len(lines)) if _ends_cue(lines, at)), len(lines))
            start_s, end_s = seconds_of(match[1]), seconds_of(match[2])
            if start_s is None or end_s is None:
                listed.leave_out(where, "cannot read the times")
            else:
                listed.rows.append(Row(file.video, start_s, end_s, text_of(lines[number + 1 : end]), where))
        return with_labels(listed)

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One video; players show cues that overlap together."""
        (video,) = videos
        cues = [
            f"{number}\n{clock(start_ms, ',')} --> {clock(end_ms, ',')}\n{cue_text(one)}\n"
            for number, (start_ms, end_ms, one) in enumerate(video.in_ms, 1)
        ]
        return {target: "\n".join(cues)}


def _ends_cue(lines: Sequence[str], at: int) -> bool:
    is_number = lines[at].strip().isdecimal() and at + 1 < len(lines)
    return not lines[at].strip() or "-->" in lines[at] or (is_number and _TIMES.fullmatch(lines[at + 1]) is not None)
