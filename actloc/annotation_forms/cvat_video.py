"""CVAT for video 1.1: tracks of boxes; a segment is a stretch in which the box of a track is visible."""

from typing import ClassVar
from xml.etree.ElementTree import Element

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.cvat_tasks import Task, integer, task_of, tasks_of
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile


class Config(FormConfig):
    """A segment ends before the frame in which the box is outside, and a track may open again."""

    title: ClassVar[str] = "an export CVAT for video"

    def recognises(self, file: SourceFile) -> bool:
        """By its tracks; without any, by the mode of the task."""
        if file.root is None or file.root.tag != "annotations":
            return False
        first = file.first_of({"track", "image"})
        return first == "track" or (not first and "<mode>annotation</mode>" not in file.head)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Track by track."""
        listed, tasks = Listed(), dict[str, Task]()
        for element in file.elements({"meta", "track"}):
            if element.tag == "meta":
                tasks = tasks_of(element, file)
            elif element.tag == "track":
                where = f"{file.path}: track {element.get('id', '')}"
                _add(listed, where, element, task_of(element, tasks, file), reading)
        return listed


def _add(listed: Listed, where: str, track: Element, task: Task, reading: Reading) -> None:
    label = track.get("label", "")
    shapes = [(integer(shape.get("frame")), shape.get("outside") == "1") for shape in track if shape.get("frame")]
    if not label.strip():
        listed.leave_out(where, "it has no label")
        return
    if any(frame is None for frame, _ in shapes):
        listed.leave_out(where, "one of its frames is no number")
        return
    boxes = sorted((frame, is_outside) for frame, is_outside in shapes if frame is not None)
    # frames are those of the video, unless they cannot be: then they count the frames of the task
    own = all(frame >= task.start_frame and not (frame - task.start_frame) % task.step for frame, _ in boxes)
    first: int | None = None
    for frame, is_outside in boxes:
        at = frame if own else task.start_frame + frame * task.step
        if is_outside and first is not None:
            _append(listed, where, (task.video, label), (first, at - 1), reading)
            first = None
        elif not is_outside and first is None:
            first = at
    if first is not None:
        _append(listed, where, (task.video, label), (first, max(task.stop_frame, first)), reading)


def _append(listed: Listed, where: str, named: tuple[str, str], frames: tuple[int, int], reading: Reading) -> None:
    video, label = named
    start_s, end_s = reading.seconds(video, *frames, 0)
    listed.rows.append(Row(video, start_s, end_s, label, f"{where}, frame {frames[0]}"))
