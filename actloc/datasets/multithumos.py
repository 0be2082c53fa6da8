"""MultiTHUMOS: 65 classes, densely labelled, on the videos of THUMOS14; from super-events' multithumos.json."""

from pathlib import Path
from typing import Literal

from actloc import raw_forms
from actloc.annotations import Annotations
from actloc.config import InputFile, OptionalInputFile
from actloc.datasets.base import DatasetConfig

_NUM_CLASSES, _FIRST = 65, 1


class Config(DatasetConfig):
    """Where the annotations and the names of the classes are."""

    name: Literal["multithumos"] = "multithumos"
    annotations: InputFile
    """multithumos.json as downloaded; its classes are numbers from 1 to 65."""
    class_names: OptionalInputFile = None
    """The official class_list.txt, lines `1 BaseballPitch`; without it classes are called class_01 to class_65."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "testing"
    """The subset that `eval` scores."""

    def collect(self) -> Annotations:
        """Annotations of every video, all 65 classes in the order of their numbers."""
        found = raw_forms.read_numbered_actions(
            self.annotations, _NUM_CLASSES, _FIRST, self.class_names, lambda number: f"class_{number:02d}"
        )
        return raw_forms.settle(found, raw_forms.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "multithumos.json")
