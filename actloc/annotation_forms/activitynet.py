"""ActivityNet's JSON: {"database": {video: {"duration", "subset", "annotations": [{"segment", "label"}]}}}."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import form as annotation_form
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo
from actloc.annotations.source_file import SourceFile

_SEGMENT = re.compile(r"\.annotations\[\d+\]$")
"""The end of the place of a segment."""


class Config(FormConfig):
    """Times are in seconds; every video is listed, also one without segments."""

    title: ClassVar[str] = "a JSON like ActivityNet's"
    is_written_by_hand: ClassVar[bool] = True
    suffix: ClassVar[str] = ".json"
    keeps_annotated_time: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By its key `database`."""
        return isinstance(file.json, dict) and isinstance(file.json.get("database"), dict)

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Segments that cannot be used are left out; what is wrong with a video or with the classes is a problem."""
        annotations, problems = annotation_form.parsed_own(file.path, file.json)
        problems = [replace(one, where=f"{file.path}: {one.where}") for one in problems]
        listed, refused = Listed(), {problem.where for problem in problems}
        for problem in problems:
            (listed.left_out if _SEGMENT.search(problem.where) else listed.problems).append(problem)
        for name, video in annotations.videos.items():
            where = f"{file.path}: database[{name!r}]"
            listed.videos[name] = replace(video, actions=())
            listed.video_places[name] = where
            places = (f"{where}.annotations[{number}]" for number in itertools.count())
            read = (place for place in places if place not in refused)
            listed.rows += [Row(name, one.start_s, one.end_s, one.label, next(read)) for one in video.actions]
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One file; what is not known of a video is left out."""
        database: dict[str, Any] = {}
        for video in videos:
            known = {"subset": video.subset, "duration": video.duration_s, "fps": video.fps}
            database[video.id] = {
                **{key: value for key, value in known.items() if value},
                **({"annotated": [list(interval) for interval in video.annotated]} if video.annotated else {}),
                "annotations": [
                    {
                        "segment": [round(one.start_s, 6), round(one.end_s, 6)],
                        "label": one.label,
                        **({} if one.score is None else {"score": one.score}),
                    }
                    for one in video.segments
                ],
            }
        content = {"version": "VERSION 1.3", "database": database}
        return {target: json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}
