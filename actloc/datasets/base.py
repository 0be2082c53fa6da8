"""What every dataset answers: which videos there are, in which subset, with which actions."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.settings.sections import Part, Shapes

_ANY_CLASS = "action"


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
        """Settings of a tiny dataset in `folder`; the contract tests prepare it.

        Its raw form is written here, unless `tests/datasets/raw.py` has it, as for datasets whose rows are published.
        """


def read_prepared(dataset: DatasetConfig, arguments: str) -> Annotations:
    """The prepared annotations, with all classes merged into one where the dataset asks for it.

    `arguments` are what follows `actloc prepare` in messages. Raises UserError if there are none, or if another variant
    of the dataset was prepared than the settings ask for.
    """
    file = dataset.annotations_file
    if not file.exists():
        raise UserError(
            f"{file} does not exist.",
            "Expected what `actloc prepare` writes; paths count from the working folder.",
            f"Run: actloc prepare {arguments}",
        )
    annotations = annotation_form.read(file)
    asked = dataset.variant
    if annotations.variant != asked:
        raise UserError(
            f"{file} was prepared as: {annotations.variant or 'no variant named'}; the settings ask for: {asked}.",
            "Expected the variant that the settings name; another one's numbers cannot be compared with its.",
            f"Replace it: actloc prepare {arguments} --overwrite; "
            "or keep both: prepare and use dataset.folder=ANOTHER_FOLDER",
        )
    if not dataset.class_agnostic:
        return annotations
    videos = {
        video.id: replace(video, actions=tuple(replace(action, label=_ANY_CLASS) for action in video.actions))
        for video in annotations.videos.values()
    }
    return replace(annotations, classes=(_ANY_CLASS,), videos=videos)
