"""Segments as a file of annotations states them, before names of videos are matched; and as a file is to state them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import Problem


class Row(NamedTuple):  # made in a fifth of the time of a frozen dataclass: there may be a million
    """One segment, in seconds from the first frame of its video."""

    video: str
    """The name of the video as it is written: an id, a file name or a path."""
    start_s: float
    end_s: float
    label: str
    where: str
    """The line or the element, for messages."""
    subset: str = ""
    tier: str = ""
    """The tier, attribute or control that the segment belongs to, in forms that have several of them."""
    is_point: bool = False
    """Whether only a moment was marked, `start_s`."""
    score: float | None = None
    unusable: str = ""
    """Why a row is left out, if its tier is read at all."""
    annotated: tuple[tuple[float, float], ...] = ()
    """Intervals of the video of which every action is listed, as the row states them."""
    has_action: bool = True
    """False for a row that only states what is annotated."""


@dataclass
class Listed:
    """What files of one form hold."""

    rows: list[Row] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    """What cannot be used, each with its place and the reason."""
    problems: list[Problem] = field(default_factory=list)
    """What the user must correct first."""
    notes: list[str] = field(default_factory=list)
    """What was done on the way and is not as the file has it."""
    videos: dict[str, AnnotatedVideo] = field(default_factory=dict)
    """By name, in forms that list every video, also those without segments: what is stated, without actions."""
    video_places: dict[str, str] = field(default_factory=dict)
    """Where each of `videos` is listed."""
    durations_s: dict[str, float] = field(default_factory=dict)
    """By name, of videos whose length a file states."""
    rates: dict[str, float] = field(default_factory=dict)
    """By name, frames per second of videos whose rate a file states."""
    ends_s: dict[str, float] = field(default_factory=dict)
    """By name, where the time line of a file ends, which may not be the length of the video."""

    @property
    def holds_any(self) -> bool:
        """Whether there is a row, a video or something that cannot be used."""
        return bool(self.rows or self.videos or self.left_out or self.problems)

    def leave_out(self, where: str, why: str) -> None:
        """Notes that something cannot be used."""
        self.left_out.append(Problem(where, why))

    def add(self, other: "Listed") -> None:
        """Adds what another file holds."""
        self.rows += other.rows
        self.left_out += other.left_out
        self.problems += other.problems
        self.notes += other.notes
        for name in other.videos.keys() & self.videos.keys():
            what = f"{name} is also in {self.video_places[name]}"
            self.problems.append(Problem(other.video_places[name], what))
        self.videos = {**other.videos, **self.videos}
        self.video_places = {**other.video_places, **self.video_places}
        self.durations_s = {**other.durations_s, **self.durations_s}
        self.rates = {**other.rates, **self.rates}
        self.ends_s = {**other.ends_s, **self.ends_s}


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment to be written; a prediction has a score."""

    start_s: float
    end_s: float
    label: str
    score: float | None = None


@dataclass(frozen=True)
class WrittenVideo:
    """A video whose segments are to be written."""

    id: str
    name: str
    """Its file name, or its id where the file is not known."""
    segments: tuple[Segment, ...]
    duration_s: float | None = None
    fps: float | None = None
    subset: str = ""
    annotated: tuple[tuple[float, float], ...] = ()
    """Intervals of which every action is listed; empty: all of the video."""

    @property
    def in_ms(self) -> list[tuple[int, int, Segment]]:
        """Segments with their start and end in whole milliseconds, ordered by time; each has a length."""
        rounded = [(round(one.start_s * 1000), round(one.end_s * 1000), one) for one in self.segments]
        return sorted(
            ((start, max(end, start + 1), one) for start, end, one in rounded), key=lambda found: (found[0], found[1])
        )


def labels_of(videos: Iterable[WrittenVideo]) -> list[str]:
    """Every label once, sorted."""
    return sorted({one.label for video in videos for one in video.segments})


def without_overlaps(segments: Iterable[tuple[int, int, Segment]]) -> list[list[tuple[int, int, Segment]]]:
    """The segments, which are sorted by start, on as few tracks as possible, so that none overlaps on its track."""
    tracks: list[list[tuple[int, int, Segment]]] = []
    for one in segments:
        track = next((track for track in tracks if track[-1][1] <= one[0]), None)
        if track is None:
            tracks.append(track := [])
        track.append(one)
    return tracks
