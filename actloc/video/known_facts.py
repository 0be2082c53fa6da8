"""Remembers what headers of videos say, so that a `prepare` that was stopped or refused does not read them again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from actloc import files
from actloc.annotations.model import AnnotatedVideo
from actloc.video.base import FRAMES_FILE

_LONGEST_S, _FASTEST_FPS = 1e8, 1e6  # of any video; what is beyond them was never read from one


_NAME = "video_facts.jsonl"


def file_in(folder: Path) -> Path:
    """The file in a dataset's folder that keeps what headers say."""
    return folder / _NAME


class KnownFacts:
    """A file with a line for each video that was read, which holds as long as the video has its size and time."""

    def __init__(self, folder: Path) -> None:
        self._listing = listing = file_in(folder)
        rows = files.read_json_lines(listing, skip_damaged=True)
        if listing.exists() and not listing.read_bytes().endswith(b"\n"):
            files.write_json_lines(listing, rows)  # without the line that a crash cut off
        self._rows = {tuple(row[key] for key in ("file", "size", "changed_ns")): row for row in rows if _is_whole(row)}

    def with_facts(self, videos: Mapping[str, AnnotatedVideo]) -> dict[str, AnnotatedVideo]:
        """Those of the videos whose duration and rate are known, with them."""
        found = {}
        for video_id, video in videos.items() if self._rows else ():
            there = video.file is not None and video.file.exists()
            row = self._rows.get(tuple(_identity(video).values())) if there else None
            if row:
                found[video_id] = replace(video, duration_s=row["duration"], fps=row["fps"])
        return found

    def add(self, video: AnnotatedVideo) -> None:
        """Remembers a video that was read."""
        identity = _identity(video)
        if tuple(identity.values()) not in self._rows:
            files.make_folder(self._listing.parent)
            row = {**identity, "duration": video.duration_s, "fps": video.fps}
            files.append_line(self._listing, files.json_line(row))


def _is_whole(row: dict[str, Any]) -> bool:  # Any: JSON values
    numbers = [row.get(name) for name in ("size", "changed_ns", "duration")]
    fps = row.get("fps", 0)  # which null replaces where it is not known
    return (
        isinstance(row.get("file"), str)
        and all(isinstance(one, int | float) for one in numbers)
        and 0 <= row["duration"] <= _LONGEST_S
        and (fps is None or (isinstance(fps, int | float) and 0 < fps <= _FASTEST_FPS))
    )


def _identity(video: AnnotatedVideo) -> dict[str, Any]:  # Any: JSON values
    assert video.file is not None, f"{video.id} was found by its file"
    frames = video.file / FRAMES_FILE
    status = (frames if video.file.is_dir() else video.file).stat()
    return {"file": str(video.file.absolute()), "size": status.st_size, "changed_ns": status.st_mtime_ns}
