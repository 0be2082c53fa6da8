"""What every dataset answers: which videos there are, in which subset, with which actions."""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar

from actloc.annotations.model import Annotations
from actloc.settings.sections import Part, Shapes


class DatasetConfig(Part):
    """Settings that every dataset has; a dataset's file adds its own and says how its raw form is read."""

    shapes = "nothing"

    has_actions: ClassVar[bool] = True
    """Whether there is something to learn; videos alone are only turned into features, and prepared on the way."""

    folder: Path
    """Where `prepare` writes: annotations.json, and videos where it makes any."""
    training_subset: Annotated[str, Shapes("weights")] = "train"
    """The subset that `train` learns from."""
    evaluation_subset: str = "test"
    """The subset that `eval` scores."""
    validation_subset: str = "validation"
    """A subset that neither trains nor is scored by `eval`; training.validation_subset may name it."""
    class_agnostic: Annotated[bool, Shapes("detections")] = False
    """Learn and score one class, action, in place of all."""

    @property
    def annotations_file(self) -> Path:
        """The one annotation form that `prepare` writes and everything else reads."""
        return self.folder / "annotations.json"

    @property
    def variant(self) -> str:
        """A short name of the published variant that these settings ask for; empty where there is only one.

        `prepare` writes it into the annotations, all that reads them compares it, and results tell it.
        """
        return ""

    def is_prepared(self) -> bool:
        """Whether `prepare` has written annotations; of videos alone, whether they name the videos that there are."""
        return self.annotations_file.exists()

    @abstractmethod
    def collect(self) -> Annotations:
        """Reads the raw form, makes videos where the dataset makes any, and returns all annotations, checked.

        Raises UserError listing every problem of the raw files.
        """

    @classmethod
    @abstractmethod
    def small(cls, folder: Path) -> "DatasetConfig":
        """Settings of a tiny dataset in `folder`; the contract tests prepare it."""
