"""Audacity's label track: lines `start TAB end TAB label` in seconds; a line that begins with \\ has frequencies."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo
from actloc.annotations.source_file import SourceFile
from actloc.annotations.times import number_of

_ROW = re.compile(r"([\d.,]+)\t([\d.,]+)(?:\t(.*))?")
_LINE_FEED, _SEPARATOR = "\n", "\u2028"
"""A label of several lines is written with line separators, as every label has one line."""


class Config(FormConfig):
    """The video is that of the file's name; a label of a moment is a point."""

    title: ClassVar[str] = "a label track of Audacity"
    reads_any_text: ClassVar[bool] = True
    suffix: ClassVar[str] = ".txt"
    has_file_per_video: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its first line: two numbers and a label, with tabs."""
        first = next((line for line in file.head.split("\n") if line.strip()), "")
        match = _ROW.fullmatch(first)
        return match is not None and number_of(match[1]) is not None and number_of(match[2]) is not None

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line."""
        listed = Listed()
        for number, line in enumerate(file.text.split("\n"), 1):
            where = f"{file.path}:{number}"
            match = _ROW.fullmatch(line)
            start_s, end_s = (number_of(match[1]), number_of(match[2])) if match else (None, None)
            if not line.strip() or line.startswith("\\"):
                continue
            if match is None or start_s is None or end_s is None:
                listed.leave_out(where, "expected start, end and label, with tabs between them")
            elif not (match[3] or "").strip():
                listed.leave_out(where, "it has no label")
            else:
                label = match[3].strip().replace(_SEPARATOR, _LINE_FEED)
                listed.rows.append(Row(file.video, start_s, end_s, label, where, is_point=start_s == end_s))
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One video."""
        (video,) = videos
        text = ""
        for one in sorted(video.segments, key=lambda one: (one.start_s, one.end_s)):
            end_s = max(one.end_s, one.start_s + 1e-6)
            text += f"{one.start_s:.6f}\t{end_s:.6f}\t{one.label.replace(_LINE_FEED, _SEPARATOR)}\n"
        return {target: text}
