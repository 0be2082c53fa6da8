"""Segments as files of annotation tools: which files there will be, and what is in them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from actloc import console
from actloc.annotations import own_files
from actloc.annotations.reading import KIND
from actloc.annotations.rows import WrittenVideo
from actloc.errors import UserError
from actloc.settings import parts

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML and programs that read text cannot have."""


class WritableForm(Protocol):
    """What `annotation_forms/base.py` requires of a form to be written."""

    name: str
    short_name: str
    title: str
    suffix: str
    has_file_per_video: bool
    counts_frames: bool
    keeps_annotated_time: bool

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """The text of every file, by its path."""


def named(name: str, option: str = "--form") -> WritableForm:
    """The form of this name or short name; raises UserError if there is none, or if it is only read."""
    form: WritableForm = parts.find(KIND, own_files.named(name, option).name).Config()
    if form.suffix:
        return form
    every = [one for one in map(_config, parts.names(KIND)) if one.suffix]
    raise UserError(
        f"{option} {name}: {form.title} is read and not written.",
        f"Expected one of {', '.join(one.short_name or one.name.replace('_', '-') for one in every)}.",
        f"Choose another form, such as {option} csv",
    )


def _config(name: str) -> WritableForm:
    form: WritableForm = parts.find(KIND, name).Config()
    return form


def texts(form: WritableForm, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
    """The text of every file, by its path; nothing is written.

    A form that holds one video gets a folder `target` with a file for each video that has segments, or the file
    `target` if there is one such video and the name ends as such files do. Raises UserError if a rate is missing, or if
    there is nothing to write.
    """
    videos = [printable(video) for video in videos]
    if not form.has_file_per_video:
        if target.is_dir():
            raise UserError(
                f"{target} is a folder, and {form.title} holds all videos in one file.",
                "Expected the name of a file.",
                f"Name it: {target / f'annotations{form.suffix}'}",
            )
        return form.write(videos, target)
    found = [video for video in videos if video.segments]
    if not found:
        raise UserError(
            f"There is no segment to write, and {form.title} holds those of one video.",
            "Expected a segment in one of the videos.",
            "Check what was read, or choose a form that lists all videos: --form csv",
        )
    if len(found) == 1 and target.suffix.lower() == form.suffix.lower() and not target.is_dir():
        return form.write(found, target)
    if len(found) < len(videos):
        console.say(
            f"{console.count(len(videos) - len(found), 'video')} without segments: no file is written for these"
        )
    written: dict[Path, str] = {}
    for video in found:
        written |= form.write([video], target / f"{video.id}{form.suffix}")
    return written


def printable(video: WrittenVideo) -> WrittenVideo:
    """The video with labels that every form can hold."""
    return replace(video, segments=tuple(replace(one, label=_text(one.label)) for one in video.segments))


def _text(label: str) -> str:
    return _NO_TEXT.sub("\ufffd", label.replace("\r\n", "\n").replace("\r", "\n"))
