"""FiftyOne's temporal detections on disk: {"classes", "labels": {video: [{"label", "support" or "timestamps"}]}}."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo, labels_of
from actloc.annotations.source_file import SourceFile


class Config(FormConfig):
    """A support is its first and last frame, counted from 1; timestamps are seconds."""

    title: ClassVar[str] = "temporal detections of FiftyOne"
    suffix: ClassVar[str] = ".json"

    def recognises(self, file: SourceFile) -> bool:
        """By its keys."""
        content = file.json
        return isinstance(content, dict) and "classes" in content and isinstance(content.get("labels"), dict)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Video by video, also those without detections."""
        listed, classes = Listed(), file.json["classes"]
        for video, detections in file.json["labels"].items():
            listed.videos[video] = AnnotatedVideo(video, "")
            listed.video_places[video] = f"{file.path}: labels[{video!r}]"
            if not isinstance(detections, list | None):
                listed.leave_out(listed.video_places[video], f"expected a list, found {detections!r:.40}")
                continue
            for number, detection in enumerate(detections or ()):
                where = f"{file.path}: labels[{video!r}][{number}]"
                if isinstance(detection, dict):
                    _add(listed, where, video, detection, classes, reading)
                else:
                    listed.leave_out(where, f"expected an object, found {detection!r:.40}")
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One file, with timestamps, so that no end is moved to a frame."""
        classes = labels_of(videos)
        number_of = {label: number for number, label in enumerate(classes)}
        labels: dict[str, list[dict[str, Any]]] = {
            video.id: [
                {
                    "label": number_of[one.label],
                    "timestamps": [round(one.start_s, 6), round(one.end_s, 6)],
                    "confidence": one.score,
                    "attributes": {},
                }
                for one in video.segments
            ]
            for video in videos
        }
        content = {"classes": classes, "labels": labels}
        return {target: json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}


def _add(  # Any: parsed JSON
    listed: Listed, where: str, video: str, detection: dict[str, Any], classes: Any, reading: Reading
) -> None:
    label = detection.get("label")
    if isinstance(label, int) and isinstance(classes, list) and 0 <= label < len(classes):
        label = classes[label]
    if not isinstance(label, str) or not label.strip():
        listed.leave_out(where, f"the label {label!r} is neither a name nor the number of a class")
        return
    timestamps, score = detection.get("timestamps"), detection.get("confidence")
    ends: Any = detection.get("support") if timestamps is None else timestamps
    if not (isinstance(ends, list) and len(ends) == 2 and all(_is_number(end) for end in ends)):
        listed.leave_out(where, f"cannot read its ends {ends!r}")
        return
    first, last = ends
    start_s, end_s = (float(first), float(last)) if timestamps else reading.seconds(video, first, last, 1)
    listed.rows.append(Row(video, start_s, end_s, label, where, score=score if _is_number(score) else None))


def _is_number(value: Any) -> bool:  # Any: parsed JSON
    return isinstance(value, int | float) and not isinstance(value, bool)
