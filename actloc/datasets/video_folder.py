"""A folder of videos without annotations, for feature extraction; training needs another dataset."""

from pathlib import Path
from typing import ClassVar

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.settings.sections import InputFolder
from actloc.video.folder import videos_below, videos_by_id, with_all_facts


class Config(DatasetConfig):
    """Where the videos are; the id of a video is its file name without prefix and extension."""

    has_actions: ClassVar[bool] = False
    videos: InputFolder
    """The folder of videos; folders in it are searched too."""
    prefix: str = ""
    """The prefix of file names that is not part of the ids in annotations: v_ for ActivityNet."""

    def is_prepared(self) -> bool:
        """Whether the annotations list exactly the files that are in the folder now."""
        if not self.annotations_file.exists() or not self.videos.is_dir():
            return False
        prepared = annotation_form.read(self.annotations_file).videos.values()
        files = videos_below(self.videos, skip=[self.folder])
        present = {(path.stem.removeprefix(self.prefix), path) for path in files}
        return {(video.id, video.file) for video in prepared} == present

    def collect(self) -> Annotations:
        """Every video of the folder, in the evaluation subset, without actions."""
        found = videos_by_id(self.videos, skip=[self.folder], prefix=self.prefix)
        videos = with_all_facts({key: AnnotatedVideo(key, self.evaluation_subset, file=found[key]) for key in found})
        length = console.duration(sum(video.duration_s or 0 for video in videos.values()))
        console.say(f"{console.count(len(videos), 'video')} of {length} in all")
        return Annotations((), videos)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A folder that the contract test fills."""
        return cls(folder=folder / "prepared", videos=folder / "videos")
