"""Reads a file of annotations as `prepare` does, without videos."""

from pathlib import Path
from typing import Any

from actloc.annotations import own_actions
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.own_actions import OwnActions
from actloc.annotations.reading import Reading, ReadingSettings
from actloc.annotations.video_names import VideoNames

Segments = dict[str, list[tuple[float, float, str]]]


def read(path: Path, *ids: str, at_hand: dict[str, AnnotatedVideo] | None = None, **settings: Any) -> OwnActions:
    """The actions of a file or folder; `ids` are the videos that there are, by default any."""
    names = VideoNames(ids or None)
    reading = Reading(
        ReadingSettings.model_validate(settings), facts=lambda name: (at_hand or {}).get(names.find(name) or "")
    )
    return own_actions.read(path, None, names, "vids has no video", reading)


def segments(found: OwnActions) -> Segments:
    """Start, end and label by video, sorted, to a tenth of a millisecond."""
    return {
        video.id: sorted((round(one.start_s, 4), round(one.end_s, 4), one.label) for one in video.actions)
        for video in found.videos.values()
    }
