"""Video files: which cannot be read, and which are read otherwise than one may think."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actloc import console
from actloc.diagnosis.finding import Finding, Severity
from actloc.errors import VideoError
from actloc.video.base import Survey
from actloc.video.reader import probe, read_frames, survey

_AT_ONCE = os.cpu_count() or 1
_PICTURES_PER_S = 1.0
_SIDE, _TIMES = 8, 16
"""A signature is this many pictures of this many pixels a side."""
_REENCODE = "Write it anew at a constant rate: ffmpeg -i FILE -fps_mode cfr NEW.mp4, or keep it: times are exact"
_OTHER_COPY = "Get another copy of it, or leave the video out"
_REASONS = {
    "no_video_stream": ("no_pictures", "has no pictures, only sound or data"),
    "empty": ("no_frames", "has no frames"),
    "truncated": ("cut_tail", "is cut off"),
}


@dataclass(frozen=True)
class _Seen:
    """What was found out about a file."""

    video_id: str
    file: Path
    survey: Survey | None = None
    error: VideoError | None = None
    signature: NDArray[np.float32] | None = None


def findings(
    videos: Mapping[str, Path], annotated_s: Mapping[str, float], *, decodes: bool
) -> tuple[list[Finding], dict[str, NDArray[np.float32]]]:
    """What is odd about the files, by their ids, and a signature of each that was decoded.

    `annotated_s` are durations that annotations state. `decodes`: reads every picture, not only headers and packets.
    """
    found, signatures = [], {}
    title = "decoding videos" if decodes else "reading videos"
    with console.progress(title, len(videos)) as bar, ThreadPoolExecutor(_AT_ONCE) as pool:
        for seen in pool.map(lambda one: _look(one[0], one[1], decodes), sorted(videos.items())):
            found += _of_one(seen, annotated_s.get(seen.video_id))
            if seen.signature is not None:
                signatures[seen.video_id] = seen.signature
            bar(1)
    return found, signatures


def _look(video_id: str, file: Path, decodes: bool) -> _Seen:
    try:
        if file.is_dir():
            probe(file, unlisted_folders=True)
            return _Seen(video_id, file)
        surveyed = _surveyed(file)
        return _Seen(video_id, file, surveyed, signature=_signature(file) if decodes else None)
    except VideoError as error:
        return _Seen(video_id, file, error=error)


def _surveyed(file: Path) -> Survey | None:
    """None for a file that only another reader opens."""
    try:
        return survey(file)
    except VideoError as error:
        if error.reason != "unreadable":
            raise
        probe(file)
        return None


def _signature(file: Path) -> NDArray[np.float32] | None:
    """Small grey pictures (times, pixels), evenly spread over the video; every picture of it is decoded.

    None for a video of less than half a second.
    """
    rows = []
    with read_frames(file, fps=_PICTURES_PER_S) as frames:
        for frame in frames:
            height, width = (size - size % _SIDE for size in frame.shape[:2])
            if not height or not width:
                rows.append(np.full(_SIDE * _SIDE, frame.mean(), np.float32))
                continue
            grey = frame[:height, :width].mean(axis=2)
            blocks = grey.reshape(_SIDE, height // _SIDE, _SIDE, width // _SIDE).mean(axis=(1, 3))
            rows.append(blocks.ravel().astype(np.float32))
    if not rows:
        return None
    picked = np.linspace(0, len(rows) - 1, _TIMES).round().astype(int)
    return np.stack(rows)[picked]


def _of_one(seen: _Seen, annotated_s: float | None) -> list[Finding]:
    where, name = str(seen.file), seen.video_id
    if seen.error is not None:
        return [_failed(name, where, seen.error)]
    facts = seen.survey
    if facts is None:
        return []
    found: list[Finding] = []

    def add(severity: Severity, kind: str, what: str, fix: str) -> None:
        found.append(Finding(severity, kind, f"{name} {what}", where, fix))

    if facts.fault:
        reason, _, detail = facts.fault.partition(": ")
        kind, what = _REASONS.get(reason, ("damaged", f"is {reason}"))
        add("error", kind, f"{what}: {detail}", _OTHER_COPY)
    if facts.is_variable:
        between = f"from {facts.shortest_s:.3g} to {facts.longest_s:.3g} s between pictures"
        add("warning", "variable_rate", f"has a variable frame rate, {between}: frame numbers are no times", _REENCODE)
    if facts.rotation:
        turned = f"is stored turned by {facts.rotation % 360} degrees; it is read upright, as players show it"
        add("note", "rotation", turned, "")
    if (
        annotated_s is not None
        and not facts.fault
        and abs(annotated_s - facts.duration_s) > max(1.0, 0.05 * annotated_s)
    ):
        longer = f"is {facts.duration_s:.2f} s long, and its annotations state {annotated_s:.2f} s"
        add(
            "warning",
            "duration",
            longer,
            "Check that the annotations are of this file, then run: actloc prepare CONFIG",
        )
    return found


def _failed(name: str, where: str, error: VideoError) -> Finding:
    kind, what = _REASONS.get(error.reason, ("unreadable", "cannot be read"))
    return Finding("error", kind, f"{name} {what}: {error.detail}", where, _OTHER_COPY, error.reason)
