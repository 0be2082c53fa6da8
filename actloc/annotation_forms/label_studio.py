"""Label Studio: exported tasks with timelines of video, or regions of audio; written as predictions of tasks."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote
from xml.etree import ElementTree

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import xml_elements
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo, labels_of
from actloc.annotations.source_file import SourceFile
from actloc.errors import UserError

_MEDIA = ("video", "audio", "video_url", "audio_url", "url", "file")
_RESULTS = ("annotations", "completions", "predictions")
_CONTROL, _OBJECT = "videoLabels", "video"


class Config(FormConfig):
    """Frames of timelines count from 1, and both ends belong to the action, at the rate that the tool was set to."""

    title: ClassVar[str] = "an export of Label Studio"
    suffix: ClassVar[str] = ".json"
    counts_frames: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its tasks, most of which have data and annotations or predictions."""
        content = file.json
        return isinstance(content, list) and 2 * sum(map(_is_task, content)) > len(content)

    def is_companion(self, file: SourceFile) -> bool:
        """A labelling configuration, such as the one that is written with the tasks."""
        return file.root is not None and file.root.tag == "View"

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The annotations that were not cancelled; of tasks that have no such list at all, the predictions."""
        listed, unlabelled = Listed(), 0
        for number, task in enumerate(file.json):
            where = f"{file.path}: task {_dict(task).get('id', number)}"
            if not _is_task(task):
                listed.leave_out(where, "expected an object with data and annotations")
                continue
            done = [one for one in _results(task) if not _dict(one).get("was_cancelled")]
            unlabelled += not done
            if not done:
                continue
            video = _media(_dict(task.get("data")))
            if not video:
                listed.leave_out(where, "its data names no video")
                continue
            if len(done) > 1:
                listed.notes.append(f"{where} has {len(done)} annotations, and all of them are used")
            for one in done:
                for part, region in enumerate(_list(_dict(one).get("result"))):
                    _add(listed, f"{where}, result {_dict(region).get('id', part)}", video, _dict(region), reading)
        if unlabelled:
            listed.notes.append(f"{file.path}: {unlabelled} of {len(file.json)} tasks without an annotation")
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """Tasks with predictions, and the labelling configuration with the classes and the rate.

        Raises UserError for a video without a rate.
        """
        rates = {video.fps for video in videos}
        tasks = [_task(video) for video in videos]
        view = ElementTree.Element("View")
        rate = f"{rates.pop():.10g}" if len(rates) == 1 else "$fps"
        controls = {"name": _CONTROL, "toName": _OBJECT}
        timeline = ElementTree.SubElement(view, "TimelineLabels", controls)
        for label in labels_of(videos):
            ElementTree.SubElement(timeline, "Label", {"value": label})
        ElementTree.SubElement(view, "Video", {"name": _OBJECT, "value": "$video", "frameRate": rate})
        text = json.dumps(tasks, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return {target: text, target.with_suffix(".xml"): xml_elements.to_text(view)}


def _is_task(task: Any) -> bool:  # Any: parsed JSON
    return (
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and any(isinstance(task.get(key), list) for key in _RESULTS)
    )


def _results(task: dict[str, Any]) -> list[Any]:
    lists = [task[key] for key in _RESULTS if isinstance(task.get(key), list)]
    return lists[0]


def _media(data: dict[str, Any]) -> str:
    """The file that a task shows; of an address, its last part."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    named = next((texts[key] for key in _MEDIA if key in texts), "")
    address = named or (next(iter(texts.values())) if len(texts) == 1 else "")
    if "?d=" in address:  # of a local file
        address = address.partition("?d=")[2]
    is_address = "://" in address or address.startswith("/data/")
    return re.split(r"[/\\]", unquote(address.partition("?")[0]))[-1] if is_address else address


def _add(listed: Listed, where: str, video: str, region: dict[str, Any], reading: Reading) -> None:
    kind, value = region.get("type"), _dict(region.get("value"))
    score: Any = region.get("score") if _is_number(region.get("score")) else None
    tier = str(region.get("from_name", ""))
    if kind == "timelinelabels":
        labels, spans = _list(value.get("timelinelabels")), _ranges(value)
        if spans is None:
            listed.leave_out(where, f"cannot read the ranges {value.get('ranges')!r}")
            return
        times = [reading.seconds(video, first, last, 1) for first, last in spans]
    elif kind == "labels" and ("start" in value or "end" in value):
        labels = _list(value.get("labels"))
        if not (_is_number(value.get("start")) and _is_number(value.get("end"))):
            listed.leave_out(where, f"cannot read the times {value.get('start')!r} and {value.get('end')!r}")
            return
        times = [(float(value["start"]), float(value["end"]))]
    else:
        listed.leave_out(where, f"it is of the type {kind}, which is no stretch of time with a label")
        return
    named = [str(label) for label in labels if str(label).strip()]
    if not named:
        listed.leave_out(where, "it has no label")
    listed.rows += [
        Row(video, start_s, end_s, label, where, tier=tier, score=score) for start_s, end_s in times for label in named
    ]


def _ranges(value: dict[str, Any]) -> list[tuple[float, float]] | None:
    found: list[tuple[float, float]] = []
    for one in _list(value.get("ranges")):
        first: Any = _dict(one).get("start")
        last: Any = _dict(one).get("end")
        if not (_is_number(first) and _is_number(last)):
            return None
        found.append((first, last))
    return found or None


def _task(video: WrittenVideo) -> dict[str, Any]:
    fps = video.fps
    if not fps:
        raise UserError(
            f"The rate of {video.name} is not known, and Label Studio counts frames.",
            "Expected videos that can be read, or the frames per second.",
            "Set videos=FOLDER, or annotations_fps=25 for videos of 25 frames per second.",
        )
    result = [
        {
            "id": f"{video.id}_{number}",
            "from_name": _CONTROL,
            "to_name": _OBJECT,
            "type": "timelinelabels",
            "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [label]},
            **({} if score is None else {"score": score}),
        }
        for number, (first, last, label, score) in enumerate(_in_frames(video, fps))
    ]
    scores = [one.score for one in video.segments if one.score is not None]
    mean = {"score": sum(scores) / len(scores)} if scores else {}
    return {
        "data": {"video": video.name, "fps": fps},
        "predictions": [{"model_version": "actloc", **mean, "result": result}],
    }


def _in_frames(video: WrittenVideo, fps: float) -> Iterator[tuple[int, int, str, float | None]]:
    for one in video.segments:
        first, last = round(one.start_s * fps) + 1, round(one.end_s * fps)
        if last < first:  # shorter than a frame: the one that it is in
            first = last = int((one.start_s + one.end_s) / 2 * fps) + 1
        yield first, last, one.label, one.score


def _is_number(value: Any) -> bool:  # Any: parsed JSON
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:  # Any: parsed JSON
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:  # Any: parsed JSON
    return value if isinstance(value, dict) else {}
