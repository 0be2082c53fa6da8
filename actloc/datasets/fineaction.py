"""FineAction: 106 fine-grained actions in videos of many instances, from the official JSON."""

from dataclasses import replace
from pathlib import Path

from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Annotations
from actloc.datasets.base import DatasetConfig
from actloc.settings.sections import InputFile, OptionalInputFolder
from actloc.video.folder import with_files

_NUM_CLASSES = 106


class Config(DatasetConfig):
    """Where the annotations are."""

    annotations: InputFile
    """The official annotations_gt.json, in ActivityNet's form."""
    videos: OptionalInputFolder = None
    """A folder of the videos, named by their ids; folders in it are searched too. null: features come from files."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses; the testing subset has no published annotations."""

    def collect(self) -> Annotations:
        """Annotations of every video."""
        annotations = annotation_form.read_published(self.annotations, self.folder)
        published.warn_of_classes(annotations, _NUM_CLASSES, self.annotations)
        videos = annotations.videos
        videos = with_files(videos, self.videos) if self.videos else videos
        return published.settle(replace(annotations, videos=videos), published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "annotations_gt.json")
