"""What the header of CVAT's XML says of a task: its video, and which of the video's frames it has."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from actloc.annotations.source_file import SourceFile

_STEP = re.compile(r"step\s*=\s*(\d+)")


@dataclass(frozen=True)
class Task:
    """A task, a job, or a task of a project."""

    video: str
    start_frame: int
    stop_frame: int
    step: int
    size: int | None
    mode: str


def tasks_of(meta: Element, file: SourceFile) -> dict[str, Task]:
    """The tasks of the header by their ids; empty id: the only one. Without a source, the file's name is the video."""
    found = {}
    for element in _listed(meta):
        step = _STEP.search(element.findtext("frame_filter") or "")
        source = element.findtext("source") or (element.findtext("name") if meta.find("project") is not None else "")
        source = source or meta.findtext("source")  # beside the task, as CVAT itself writes it
        found[element.findtext("id") or ""] = Task(
            source or file.video,
            integer(element.findtext("start_frame")) or 0,
            integer(element.findtext("stop_frame")) or 0,
            max(1, int(step[1])) if step and len(step[1]) < 9 else 1,
            integer(element.findtext("size")),
            element.findtext("mode") or "",
        )
    return found


def _listed(meta: Element) -> Iterator[Element]:
    for path in ("task", "job", "project/tasks/task"):
        yield from meta.iterfind(path)


def task_of(element: Element, tasks: dict[str, Task], file: SourceFile) -> Task:
    """The task that a track or an image belongs to."""
    named = tasks.get(element.get("task_id", ""))
    return named or next(iter(tasks.values()), Task(file.video, 0, 0, 1, None, ""))


def integer(text: str | None) -> int | None:
    """A whole number that a frame may have; None for other text."""
    return int(text) if text and re.fullmatch(r"\d{1,12}", text.strip()) else None
