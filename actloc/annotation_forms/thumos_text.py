"""THUMOS14's text: a file for each class, such as Diving_val.txt, with rows `video start end` in seconds."""

import re
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_ROW = re.compile(rf"\s*(\S+)\s+({_NUMBER})\s+({_NUMBER})\s*")
_AMBIGUOUS = "Ambiguous"


class Config(FormConfig):
    """The class is the file's name up to its last underscore."""

    title: ClassVar[str] = "rows `video start end`, as of THUMOS14"
    reads_any_text: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its first row: a name and two numbers; a number and tabs would be a label track of Audacity."""
        first = next((line for line in file.head.split("\n") if line.strip()), "")
        match = _ROW.fullmatch(first)
        return match is not None and not ("\t" in first and re.fullmatch(_NUMBER, match[1]))

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Line by line; intervals that are ambiguous are no action."""
        listed = Listed()
        label = file.path.stem.rpartition("_")[0] or file.path.stem
        for number, line in enumerate(file.text.split("\n"), 1):
            match = _ROW.fullmatch(line)
            where = f"{file.path}:{number}"
            if match is None and line.strip():
                listed.leave_out(where, "expected the name of a video, start and end")
            elif match is not None and label == _AMBIGUOUS:
                listed.leave_out(where, "what happens there is ambiguous, which is no class")
            elif match is not None:
                listed.rows.append(Row(match[1], float(match[2]), float(match[3]), label, where))
        return listed
