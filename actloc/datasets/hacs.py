"""HACS Segments: 200 activities in 37,600 + 5,981 videos, from the official JSON."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFile, OptionalInputFolder
from actloc.video.folder import with_files

_NUM_CLASSES = 200
_NUM_VALIDATION = {"v1.1.1": 5981, "v1.1": 5982}
"""Validation videos of each version of the official file."""


class Config(DatasetConfig):
    """Where the annotations are, and which version of them."""

    annotations: InputFile
    """The official HACS_segments_v1.1.1.json, in ActivityNet's form; its durations are text."""
    version: Literal["v1.1.1", "v1.1"] = "v1.1.1"
    """The version of the file: v1.1.1 has 5,981 validation videos, v1.1 has 5,982. Results name it."""
    videos: OptionalInputFolder = None
    """A folder of the videos, named by their ids with or without v_; folders in it are searched too. null: features
    come from files."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses; the testing subset has no published annotations."""

    @property
    def variant(self) -> str:
        """The version of the annotations."""
        return self.version

    def collect(self) -> Annotations:
        """Annotations of every video; raises UserError if the file is of the other version."""
        annotations = annotation_form.read_published(self.annotations, self.folder)
        self._check_version(annotations)
        published.warn_of_classes(annotations, _NUM_CLASSES, self.annotations)
        videos = annotations.videos
        videos = with_files(videos, self.videos, prefix="v_") if self.videos else videos
        return published.settle(replace(annotations, videos=videos), published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "HACS_segments_v1.1.1.json")

    def _check_version(self, annotations: Annotations) -> None:
        found, official = len(annotations.of_subset("validation")), _NUM_VALIDATION[self.version]
        if found == official:
            return
        for version, number in _NUM_VALIDATION.items():
            if found == number:
                raise UserError(
                    f"{self.annotations} has {found:,} validation videos, as {version} has.",
                    f"Expected {official:,}, those of {self.version}.",
                    f"Set dataset.version={version}, so that results name the version that they were measured on.",
                )
        videos = console.count(found, "validation video")
        console.warn(f"{self.annotations} has {videos}, the official {self.version} {official:,}")
