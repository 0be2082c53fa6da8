"""VGG Image Annotator 3: a project (JSON), its CSV export, and its CSV export of temporal segments."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo, labels_of
from actloc.annotations.source_file import SourceFile

_TEMPORAL = "FILE1_Z2_XY0"
"""The anchor of attributes of a stretch of time, without a place in the picture."""
_TEXT, _CHECKBOX, _SELECT = 1, 2, 4
_KEYS = {"project", "metadata", "attribute", "file", "view"}
_HEADER = "# CSV_HEADER = "
_ATTRIBUTES = "# ATTRIBUTE = "


class Config(FormConfig):
    """Annotations of one moment or of a place in the picture are no actions and are passed over."""

    title: ClassVar[str] = "a project or export of VIA 3"
    suffix: ClassVar[str] = ".json"

    def recognises(self, file: SourceFile) -> bool:
        """By the keys of a project, or the comments before a table."""
        if file.is_json:
            return isinstance(file.json, dict) and file.json.keys() >= _KEYS
        return file.head.startswith("#") and f"\n{_HEADER}metadata_id," in f"\n{file.head}"

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The attributes of stretches of time; each is a tier."""
        listed = Listed()
        if file.is_json:
            _read_project(file, listed)
        else:
            _read_table(file, listed)
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """A project with one attribute, whose options are the labels."""
        options = {str(number): label for number, label in enumerate(labels_of(videos), 1)}
        number_of = {label: number for number, label in options.items()}
        ids = [str(number) for number in range(1, len(videos) + 1)]
        named = list(zip(ids, videos, strict=True))
        project = {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "actloc",
            "creator": "actloc",
            "created": 0,
            "vid_list": ids,
        }
        attribute = {
            "aname": "action",
            "anchor_id": _TEMPORAL,
            "type": _SELECT,
            "desc": "",
            "options": options,
            "default_option_id": "",
        }
        content = {
            "project": project,
            "config": {},
            "attribute": {"1": attribute},
            "file": {
                key: {"fid": int(key), "fname": video.name, "type": 4, "loc": 1, "src": video.name}
                for key, video in named
            },
            "view": {key: {"fid_list": [int(key)]} for key in ids},
            "metadata": {
                f"{key}_{number:06d}": {
                    "vid": key,
                    "flg": 0,
                    "z": [round(one.start_s, 6), round(one.end_s, 6)],
                    "xy": [],
                    "av": {"1": number_of[one.label]},
                }
                for key, video in named
                for number, one in enumerate(video.segments)
            },
        }
        return {target: json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}


def _read_project(file: SourceFile, listed: Listed) -> None:
    content = file.json
    attributes = content["attribute"] if isinstance(content["attribute"], dict) else {}
    metadata = content["metadata"] if isinstance(content["metadata"], dict) else {}
    for key, entry in metadata.items():
        where = f"{file.path}: metadata[{key!r}]"
        if not isinstance(entry, dict) or entry.get("xy") or len(_list(entry.get("z"))) != 2:
            continue
        try:
            file_id = content["view"][str(entry["vid"])]["fid_list"][0]
            video = str(content["file"][str(file_id)]["fname"])
        except (KeyError, IndexError, TypeError):
            listed.leave_out(where, f"the view {entry.get('vid')!r} has no file")
            continue
        _add(listed, where, video, entry["z"], _named(_dict(entry.get("av")), attributes))


def _read_table(file: SourceFile, listed: Listed) -> None:
    lines = file.text.split("\n")
    comments = [line for line in lines if line.startswith("#")]
    header = next(line for line in comments if line.startswith(_HEADER)).removeprefix(_HEADER).split(",")
    stated = next((line.removeprefix(_ATTRIBUTES) for line in comments if line.startswith(_ATTRIBUTES)), "{}")
    attributes = _dict(_parsed(stated))
    # comments become empty lines, so that the others keep their numbers
    reader = csv.reader("" if line.startswith("#") else line for line in lines)
    for cells in reader:
        row = dict(zip(header, cells, strict=False))
        where = f"{file.path}:{reader.line_num}"
        names = _list(_parsed(row.get("file_list", "")))
        if not cells or _list(_parsed(row.get("spatial_coordinates", "[]"))):
            continue
        if "temporal_coordinates" in row:
            times = _list(_parsed(row["temporal_coordinates"]))
        else:
            times = [_parsed(row.get(f"temporal_segment_{end}", "")) for end in ("start", "end")]
        if len(times) != 2:
            continue
        if not names:
            listed.leave_out(where, "it names no file")
            continue
        _add(listed, where, str(names[0]), times, _named(_dict(_parsed(row.get("metadata", ""))), attributes))


def _named(values: dict[str, Any], attributes: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The attribute and label of every value, and why it is none; of attributes of places in the picture, nothing.

    The export of temporal segments has names where the others have numbers.
    """
    for key, value in values.items():
        attribute = _dict(attributes.get(key))
        if attribute.get("anchor_id", _TEMPORAL) != _TEMPORAL:
            continue
        options = _dict(attribute.get("options"))
        chosen = [str(value)]
        if attribute.get("type") == _CHECKBOX and isinstance(value, str) and value not in options:
            chosen = [one for one in str(value).split(",") if one]
        for one in chosen:
            tier, is_text = str(attribute.get("aname", key)), attribute.get("type", _TEXT) == _TEXT
            is_known = is_text or one in options or not one.strip()
            yield tier, one if is_text else str(options.get(one, "")), "" if is_known else _no_option(tier, one)


def _no_option(attribute: str, value: str) -> str:
    return f"the attribute {attribute} has no option {value!r:.40}"


def _add(listed: Listed, where: str, video: str, times: list[Any], labels: Iterator[tuple[str, str, str]]) -> None:
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times):
        listed.leave_out(where, f"cannot read the times {times!r}")
        return
    found = [one for one in labels if one[1].strip() or one[2]]
    if not found:
        listed.leave_out(where, "it has no label")
    for tier, label, why in found:
        listed.rows.append(Row(video, float(times[0]), float(times[1]), label, where, tier=tier, unusable=why))


def _parsed(text: str) -> Any:  # Any: whatever JSON has
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _list(value: Any) -> list[Any]:  # Any: parsed JSON
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:  # Any: parsed JSON
    return value if isinstance(value, dict) else {}
