"""CVAT for images 1.1: tags of single frames; a segment is a run of neighbouring frames with the same tag."""

from collections.abc import Iterable
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.cvat_tasks import Task, integer, task_of, tasks_of
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row
from actloc.annotations.source_file import SourceFile


class Config(FormConfig):
    """A task may have every nth frame of its video only: a run then ends one step after its last frame."""

    title: ClassVar[str] = "an export CVAT for images"

    def recognises(self, file: SourceFile) -> bool:
        """By its images; without any, by the mode of the task."""
        if file.root is None or file.root.tag != "annotations":
            return False
        first = file.first_of({"track", "image"})
        return first == "image" or (not first and "<mode>annotation</mode>" in file.head)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The tags of all images, then their runs; shapes in the pictures are passed over."""
        listed, tasks = Listed(), dict[str, Task]()
        tagged: dict[Task, dict[str, set[int]]] = {}
        last: dict[Task, int] = {}
        for element in file.elements({"meta", "image"}):
            if element.tag == "meta":
                tasks = tasks_of(element, file)
            if element.tag != "image":
                continue
            task, number = task_of(element, tasks, file), integer(element.get("id"))
            where = f"{file.path}: image {element.get('id')}"
            for tag in element.iterfind("tag"):
                if number is None or not tag.get("label", "").strip():
                    listed.leave_out(where, "the image has no number" if number is None else "a tag has no label")
                else:
                    tagged.setdefault(task, {}).setdefault(tag.get("label", ""), set()).add(number)
            last[task] = max(last.get(task, 0), number or 0)
        for task, numbers in tagged.items():
            # images count the frames of the task, unless there are not so many: then they are those of the video
            own = task.step > 1 and task.size is not None and last[task] >= task.size
            step = task.step if own else 1
            for label, images in numbers.items():
                for first, end in _runs(images, step):
                    begin = first if own else task.start_frame + first * task.step
                    frames = begin, begin + (end - first) // step * task.step + task.step - 1
                    start_s, end_s = reading.seconds(task.video, *frames, 0)
                    listed.rows.append(Row(task.video, start_s, end_s, label, f"{file.path}: image {first}"))
        return listed


def _runs(numbers: Iterable[int], step: int) -> list[tuple[int, int]]:
    """The first and last number of each run of neighbours."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + step:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs
