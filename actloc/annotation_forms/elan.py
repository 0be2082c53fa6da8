"""ELAN's .eaf: tiers of annotations, whose ends are time slots in milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote
from xml.etree.ElementTree import Element, SubElement

from actloc.annotation_forms.base import FormConfig
from actloc.annotations import xml_elements
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, WrittenVideo, without_overlaps
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tiers import OWN_TIER, own_tier

_TYPE = "default-lt"
_DATE = "2000-01-01T00:00:00+00:00"  # the schema of ELAN requires one; the same content is the same file


@dataclass
class _Found:
    """What was read so far."""

    media: list[dict[str, str]] = field(default_factory=list)
    slots: dict[str, int | None] = field(default_factory=dict)
    """Milliseconds; None for a slot whose time is not set."""
    ends: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The slots of annotations with times of their own."""
    refers_to: dict[str, str] = field(default_factory=dict)
    listed: list[tuple[str, str, str]] = field(default_factory=list)
    """Annotation, tier and value."""


class Config(FormConfig):
    """An annotation that refers to another one takes its times; the tiers that are read are chosen by `tiers`."""

    title: ClassVar[str] = "a project of ELAN"
    suffix: ClassVar[str] = ".eaf"
    has_file_per_video: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By the root of the XML."""
        return file.root is not None and file.root.tag == "ANNOTATION_DOCUMENT"

    def is_companion(self, file: SourceFile) -> bool:
        """The preferences that ELAN keeps beside a project (.pfsx)."""
        return file.root is not None and file.root.tag == "preferences"

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """All tiers; the video is the first one that the header names, else that of the file's name."""
        found, listed = _found(file), Listed()
        video, origin_ms = _video(found, file, listed)
        for annotation, tier, value in found.listed:
            where = f"{file.path}: {annotation} in tier {tier}"
            parent, seen = annotation, set()
            while parent in found.refers_to and parent not in seen:
                seen.add(parent)
                parent = found.refers_to[parent]
            slots = found.ends.get(parent)
            times = [found.slots.get(slot) for slot in slots or ()]
            start_s, end_s, why = 0.0, 0.0, ""
            if slots is None:
                why = f"it refers to {parent}, which has no times"
            elif times[0] is None or times[1] is None:
                missing = " and ".join(slot for slot, time in zip(slots, times, strict=True) if time is None)
                why = f"the time of {missing} is not set"
            else:
                start_s, end_s = ((time + origin_ms) / 1000 for time in times if time is not None)
                why = "" if value.strip() else "it has no label"
            listed.rows.append(Row(video, start_s, end_s, value.strip(), where, tier=tier, unusable=why))
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One video; segments that overlap are on further tiers."""
        (video,) = videos
        root = Element("ANNOTATION_DOCUMENT", AUTHOR="actloc", DATE=_DATE, FORMAT="3.0", VERSION="3.0")
        header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
        media = {"MEDIA_URL": video.name, "MIME_TYPE": "video/mp4", "RELATIVE_MEDIA_URL": f"./{video.name}"}
        SubElement(header, "MEDIA_DESCRIPTOR", media)
        order, number = SubElement(root, "TIME_ORDER"), 0
        for place, track in enumerate(without_overlaps(video.in_ms) or [[]]):
            tier = SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=own_tier(place))
            for start_ms, end_ms, one in track:
                number += 1
                slots = (f"ts{2 * number - 1}", start_ms), (f"ts{2 * number}", end_ms)
                for slot, time_ms in slots:
                    SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time_ms))
                annotation = SubElement(
                    SubElement(tier, "ANNOTATION"),
                    "ALIGNABLE_ANNOTATION",
                    ANNOTATION_ID=f"a{number}",
                    TIME_SLOT_REF1=slots[0][0],
                    TIME_SLOT_REF2=slots[1][0],
                )
                SubElement(annotation, "ANNOTATION_VALUE").text = one.label
        order[:] = sorted(order, key=lambda slot: int(slot.get("TIME_VALUE", "0")))  # as ELAN keeps them
        SubElement(root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true")
        return {target: xml_elements.to_text(root)}


def _found(file: SourceFile) -> _Found:
    found, tier = _Found(), OWN_TIER
    for element in file.elements({"MEDIA_DESCRIPTOR", "TIME_SLOT", "ANNOTATION"}, {"TIER"}):
        if element.tag == "TIER":
            tier = element.get("TIER_ID", "")
        elif element.tag == "MEDIA_DESCRIPTOR":
            found.media.append(dict(element.attrib))
        elif element.tag == "TIME_SLOT":
            value = element.get("TIME_VALUE", "")
            found.slots[element.get("TIME_SLOT_ID", "")] = int(value) if value.isdecimal() and len(value) < 15 else None
        else:
            for annotation in element:
                key = annotation.get("ANNOTATION_ID", "")
                if annotation.tag == "REF_ANNOTATION":
                    found.refers_to[key] = annotation.get("ANNOTATION_REF", "")
                else:
                    found.ends[key] = annotation.get("TIME_SLOT_REF1", ""), annotation.get("TIME_SLOT_REF2", "")
                found.listed.append((key, tier, annotation.findtext("ANNOTATION_VALUE") or ""))
    return found


def _video(found: _Found, file: SourceFile, listed: Listed) -> tuple[str, int]:
    """The name of the video, and the time in it at which the time line begins, in milliseconds."""
    videos = [one for one in found.media if one.get("MIME_TYPE", "video").startswith("video")] or found.media
    if not videos:
        return file.video, 0
    if len(videos) > 1:
        names = ", ".join(one.get("MEDIA_URL", "") for one in videos)
        listed.notes.append(f"{file.path} names several videos, and the first one is used: {names}")
    absolute = videos[0].get("MEDIA_URL", "")
    address = videos[0].get("RELATIVE_MEDIA_URL") or absolute
    address = unquote(address) if "://" in absolute or "://" in address else address
    origin = videos[0].get("TIME_ORIGIN", "")
    return address.removeprefix("file://").removeprefix("./") or file.video, int(origin) if origin.isdecimal() else 0
