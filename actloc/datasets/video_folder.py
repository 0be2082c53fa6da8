"""A folder of videos without annotations, to turn into features; train on them with another dataset."""

from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations import AnnotatedVideo, Annotations
from actloc.config import InputFolder
from actloc.datasets.base import DatasetConfig
from actloc.video.folder import videos_by_id, with_all_facts


class Config(DatasetConfig):
    """Where the videos are; a video's id is its file name without the suffix."""

    name: Literal["video_folder"] = "video_folder"
    videos: InputFolder
    """The folder of videos."""

    def collect(self) -> Annotations:
        """Every video of the folder, in the evaluation subset, with no action."""
        found = videos_by_id(self.videos)
        videos = with_all_facts({key: AnnotatedVideo(key, self.evaluation_subset, file=found[key]) for key in found})
        hours = sum(video.duration_s or 0 for video in videos.values()) / 3600
        console.say(f"{len(videos)} videos, {hours:.2f} hours")
        return Annotations((), videos)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A folder that the contract test fills."""
        return cls(folder=folder / "prepared", videos=folder / "videos")
