"""MS-TCN's ground truth: a file for each video with the class of every frame, a line each."""

import re
from itertools import groupby
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile

_BACKGROUND = frozenset({"background", "SIL", "action_start", "action_end"})
"""The classes of frames without an action in GTEA, Breakfast and 50Salads."""
_MAPPING = re.compile(r"(\s*\d+ \S+\n)+\s*")
_SPLIT = re.compile(r"(\s*\S+\.txt\s*\n)+\s*")


class Config(FormConfig):
    """A run of lines with one class is a segment of the video of the file's name."""

    title: ClassVar[str] = "a class for every frame, as of MS-TCN"
    reads_any_text: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its lines, which are one word each and mostly like the line before."""
        lines = _lines(file.head, is_whole=len(file.head) < 1 << 15)
        runs = sum(1 for _ in groupby(lines))
        return len(lines) > 1 and not any(re.search(r"\s|^[<{\[]", line) for line in lines) and 2 * runs <= len(lines)

    def is_companion(self, file: SourceFile) -> bool:
        """The numbers of the classes (mapping.txt), and the lists of videos (*.bundle)."""
        text = f"{file.head}\n"
        return bool(_MAPPING.fullmatch(text) or _SPLIT.fullmatch(text))

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Run by run, but for background."""
        listed, frame = Listed(), 0
        background: dict[str, int] = {}
        for label, run in groupby(_lines(file.text, is_whole=True)):
            length = sum(1 for _ in run)
            if label in _BACKGROUND or not label:
                background[label or "(empty)"] = background.get(label or "(empty)", 0) + length
            else:
                start_s, end_s = reading.seconds(file.video, frame, frame + length - 1, 0)
                listed.rows.append(Row(file.video, start_s, end_s, label, f"{file.path}:{frame + 1}"))
            frame += length
        if background:
            counts = ", ".join(f"{name} ({number})" for name, number in background.items())
            listed.notes.append(f"{file.path}: frames that are no action: {counts}")
        return listed


def _lines(text: str, *, is_whole: bool) -> list[str]:
    lines = [line.strip() for line in text.rstrip("\n").split("\n")]
    return lines if is_whole else lines[:-1]  # the last one may be cut off
