"""Charades: 157 everyday actions in 7,985 + 1,863 home videos; from super-events' charades.json."""

from pathlib import Path
from typing import Literal

from actloc import raw_forms
from actloc.annotations import Annotations
from actloc.config import InputFile, OptionalInputFile
from actloc.datasets.base import DatasetConfig

_NUM_CLASSES, _FIRST = 157, 0


class Config(DatasetConfig):
    """Where the annotations and the names of the classes are."""

    name: Literal["charades"] = "charades"
    annotations: InputFile
    """charades.json as downloaded; its classes are numbers from 0 to 156."""
    class_names: OptionalInputFile = None
    """The official Charades_v1_classes.txt, lines `c000 Holding some clothes`; without it: c000 to c156."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "testing"
    """The subset that `eval` scores."""

    def collect(self) -> Annotations:
        """Annotations of every video, all 157 classes in the order of their numbers."""
        found = raw_forms.read_numbered_actions(
            self.annotations, _NUM_CLASSES, _FIRST, self.class_names, lambda number: f"c{number:03d}"
        )
        return raw_forms.settle(found, raw_forms.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "charades.json")
