"""What `predict` makes of videos and their segments as video files: copies with labels, and clips."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actloc import console, files
from actloc.annotations.rows import WrittenVideo
from actloc.errors import VideoError
from actloc.prediction.made_files import MadeFiles
from actloc.prediction.outcomes import VideoState
from actloc.store.filling import FailureRow, failure


@dataclass(frozen=True)
class Found:
    """A video, and the segments in it that reach their thresholds."""

    path: Path
    state: VideoState
    video: WrittenVideo
    colours: Mapping[str, int]

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.video.duration_s or 0.0


class VideoFiles(ABC):
    """One kind of video files, in one folder."""

    kind: ClassVar[str]
    """In the plural, for messages."""

    def __init__(self, folder: Path, *, is_wanted: bool, overwrite: bool) -> None:
        self.made = MadeFiles(folder)
        self.is_wanted = is_wanted
        self._overwrite = overwrite

    @abstractmethod
    def check(self, videos: Mapping[str, Path]) -> None:
        """Raises UserError or EnvironmentProblem for what is known to fail before any video is read."""

    @abstractmethod
    def made_with(self, found: Found) -> str:
        """A digest of everything that shapes the files of a video."""

    @abstractmethod
    def seconds(self, found: Found) -> float:
        """How much video there is to write."""

    @abstractmethod
    def make(self, found: Found, made_with: str, report_time: Callable[[float], None]) -> None:
        """Makes the files of a video and records them; raises VideoError."""

    @abstractmethod
    def finish(self) -> None:
        """Writes what is made of all records."""

    def remove_stale(self, everything: Sequence[Found]) -> None:
        """Deletes files of videos that have no result now, or another one."""
        current = {found.video.id: self.made_with(found) for found in everything}
        stale = [made for made in self.made.all() if current.get(made.id) != made.made_with]
        for made in stale:
            self.made.remove(made)
        if stale and not self.is_wanted:
            console.say(f"Removed {self.kind} of earlier results of {console.count(len(stale), 'video')}")


def make_all(kinds: Sequence[VideoFiles], own: Sequence[Found]) -> list[FailureRow]:
    """Makes the files of videos that have none yet; returns why some could not be made."""
    jobs = []
    for kind in kinds:
        for found in own if kind.is_wanted else ():
            made_with = kind.made_with(found)
            if not kind.made.is_done(found.video.id, made_with):
                jobs.append((kind, found, made_with))
    failed = []
    if jobs:
        total_s = sum(kind.seconds(found) for kind, found, _ in jobs)
        with console.progress("writing videos", max(total_s, 0.001), is_count=False) as bar:
            for number, (kind, found, made_with) in enumerate(jobs, start=1):
                row = _make(kind, found, made_with, bar, f"{number} of {len(jobs)}: " if len(jobs) > 1 else "")
                failed += [] if row is None else [row]
    for kind in kinds:
        if kind.is_wanted:
            with files.taking_turns(kind.made.folder):
                kind.finish()
            num_done = sum(kind.made.is_done(found.video.id, kind.made_with(found)) for found in own)
            console.say(f"{kind.made.folder} has {kind.kind} of {console.count(num_done, 'video')}")
    return failed


def _make(kind: VideoFiles, found: Found, made_with: str, bar: console.Reporter, which: str) -> FailureRow | None:
    video_id, total_s, done_s = found.video.id, kind.seconds(found), 0.0

    def report_time(seconds: float) -> None:
        nonlocal done_s
        step = min(seconds, total_s) - done_s
        if step > 0:
            done_s += step
            bar(step, f"{which}{done_s:.0f} of {total_s:.0f} s")

    try:
        kind.make(found, made_with, report_time)
        if VideoState.of(found.path) != found.state:
            made = kind.made.find(video_id)
            if made is not None:
                kind.made.remove(made)
            raise VideoError("unreadable", "it changed while it was read", "a video that nobody writes", "another one")
    except VideoError as error:
        console.error(f"{found.path}: no {kind.kind}: {error}")
        console.emit(
            "video_failed",
            id=video_id,
            path=str(found.path),
            reason=error.reason,
            detail=error.detail,
            making=kind.kind,
        )
        return failure(video_id, found.path, error)
    finally:
        bar(max(0.0, total_s - done_s))
    made = kind.made.find(video_id)
    console.emit(
        "videos_written", id=video_id, paths=[str(kind.made.folder / name) for name in made.sizes] if made else []
    )
    return None
