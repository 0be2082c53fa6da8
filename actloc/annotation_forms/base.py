"""The interface of forms of annotations: files of annotation tools, read as rows and written from segments."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, WrittenVideo
from actloc.annotations.source_file import SourceFile
from actloc.settings.sections import Part


class FormConfig(Part):
    """A form of files. What a file is is seen from its content, never from its suffix."""

    shapes = "nothing"

    title: ClassVar[str]
    """What a file of this form is, for messages: `a project of VIA 3`."""
    short_name: ClassVar[str] = ""
    """Another name for --form; empty if there is none."""
    is_written_by_hand: ClassVar[bool] = False
    """Whether people write such files themselves: they are refused if most of their rows cannot be used."""
    reads_any_text: ClassVar[bool] = False
    """Whether `annotations_form` may name this form for text that is not recognised: lines that do not fit are left
    out, or the message says what is wrong."""
    suffix: ClassVar[str] = ""
    """Of files that are written, such as `.json`; empty where the form is only read."""
    has_file_per_video: ClassVar[bool] = False
    """Whether a file holds one video, so that several videos are written into a folder."""
    counts_frames: ClassVar[bool] = False
    """Whether what is written counts frames, so that every video needs a rate."""
    keeps_annotated_time: ClassVar[bool] = False
    """Whether what is written says which time of a video is annotated, where not all of it is."""

    @abstractmethod
    def recognises(self, file: SourceFile) -> bool:
        """Whether the file is of this form, as its content shows; looks no further than it must."""

    @abstractmethod
    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The rows of the file, and what cannot be used.

        Names and labels are given as they are. Raises UserError for what is not of this form, and where a setting is
        missing.
        """

    def is_companion(self, file: SourceFile) -> bool:
        """Whether the file belongs to files of this form and holds no segments, such as a tool's preferences."""
        return False

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """The text of every file to be written, by its path; `target` is the file, or a file of one video.

        Nothing is written. Only forms with a `suffix` are asked.
        """
        raise NotImplementedError
