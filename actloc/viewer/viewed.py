"""What the viewer shows: videos with their true actions, predictions and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actloc import console
from actloc.annotations.video_names import VideoNames
from actloc.evaluation.matching import Thresholds
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import TrueAction


@dataclass(frozen=True)
class ViewedVideo:
    """A video; what is not known of it is None."""

    id: str
    predictions: list[Prediction]
    truth: list[TrueAction] = field(default_factory=list)
    duration_s: float | None = None
    file: Path | None = None
    without: str = "No file of this video is known."
    """Why there is no file, and what to do, where there is none."""
    annotated: Sequence[Sequence[float]] = ()
    """The intervals [start, end] in seconds of which the true actions are known; empty if all of the video is."""


@dataclass(frozen=True)
class ViewedSet:
    """All videos, and what is said of them together."""

    title: str
    facts: Sequence[tuple[str, str]]
    """Names and values, shown at the top."""
    videos: list[ViewedVideo]
    has_truth: bool
    tious: Sequence[float]
    """Those that may be chosen on the page."""
    thresholds: Thresholds = field(default_factory=dict)
    """The score threshold of each class, as `eval` measured it or `predict` used it; empty if there are none."""

    @property
    def classes(self) -> list[str]:
        """Every label that occurs, sorted: their places are the numbers of the classes."""
        labels = {one.label for video in self.videos for one in video.predictions}
        labels |= {one.label for video in self.videos for one in video.truth}
        return sorted(labels | set(self.thresholds))

    @property
    def num_files(self) -> int:
        """How many videos have a file."""
        return sum(video.file is not None for video in self.videos)


def with_files(viewed: ViewedSet, files: Mapping[str, Path], missing: str) -> ViewedSet:
    """The set with the files of videos by id; `missing` says why the others have none."""
    videos = []
    for video in viewed.videos:
        file = files.get(video.id)
        if file is None:
            videos.append(video if video.file else replace(video, without=missing))
        elif file.exists():
            videos.append(replace(video, file=file.absolute()))
        else:
            videos.append(replace(video, file=None, without=f"{file} does not exist. {missing}"))
    return replace(viewed, videos=videos)


def matched(viewed: ViewedSet, paths: Sequence[Path]) -> dict[str, Path]:
    """Which of the files is which video: by its name, with or without suffix, in any letter case, or with `v_` before.

    Files that are none of the videos are reported, and so are two of one video, of which the first is taken.
    """
    names, found, others = VideoNames([video.id for video in viewed.videos]), dict[str, Path](), []
    for path in paths:
        video_id = names.find(path.name) or names.find(path.name.removeprefix("v_")) or names.find(f"v_{path.name}")
        if video_id is None:
            others.append(path.name)
        elif found.setdefault(video_id, path) != path:
            console.warn(f"{found[video_id]} and {path} are both the video {video_id}; the first is shown")
    if others:
        console.say(f"Not among the predictions, so not shown: {console.first_ten(others)}")
    return found
