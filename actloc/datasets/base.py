"""The interface of datasets: which videos there are, in which subset, with which actions."""

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
    """Settings that every dataset has; each dataset adds its own and reads its original annotations."""

    shapes = "nothing"

    has_actions: ClassVar[bool] = True
    """False for videos without annotations: `extract-features` prepares and uses them, and nothing can be trained."""

    folder: Path
    """Where `prepare` writes annotations.json, and the videos that it makes, if any."""
    training_subset: Annotated[str, Shapes("weights")] = "train"
    """The subset that `train` uses."""
    evaluation_subset: str = "test"
    """The subset that `eval` uses."""
    validation_subset: str = "validation"
    """A third subset, which `train` scores if training.validation_subset names it."""
    class_agnostic: Annotated[bool, Shapes("detections")] = False
    """Merge all classes into one, called action."""

    @property
    def annotations_file(self) -> Path:
        """The annotations that `prepare` writes and every other command reads."""
        return self.folder / "annotations.json"

    @property
    def variant(self) -> str:
        """A short name for the published variant that these settings choose; empty if there is only one.

        `prepare` writes it into the annotations, everything that reads them compares it, and results include it.
        """
        return ""

    def is_prepared(self) -> bool:
        """Whether `prepare` has written annotations; for videos alone, whether they list the videos of the folder."""
        return self.annotations_file.exists()

    @abstractmethod
    def collect(self) -> Annotations:
        """Reads the original annotations, makes videos if the dataset needs any, and returns all annotations, checked.

        Raises UserError listing every problem of the original files.
        """

    @classmethod
    def small(cls, folder: Path) -> "DatasetConfig":
        """Settings of a tiny dataset in `folder`; the contract tests prepare it.

        It writes their files, unless `tests/datasets/raw.py` does, as for datasets with published annotations.
        """
        return cls(folder=folder)


def read_prepared(dataset: DatasetConfig, arguments: str) -> Annotations:
    """The prepared annotations, with all classes merged into one if the dataset is `class_agnostic`.

    `arguments` follow `actloc prepare` in messages. Raises UserError if there are no annotations, or if they are of
    another variant than the one that the settings choose.
    """
    file = dataset.annotations_file
    if not file.exists():
        raise UserError(
            f"{file} does not exist.",
            "Expected the file that `actloc prepare` writes; relative paths start at the current folder.",
            f"Run: actloc prepare {arguments}",
        )
    annotations = annotation_form.read(file)
    chosen = dataset.variant
    if annotations.variant != chosen:
        raise UserError(
            f"{file} is of another variant: {annotations.variant or 'none'}; the settings choose: {chosen or 'none'}.",
            "Expected the variant that the settings choose: numbers of different variants are not comparable.",
            f"Replace it: actloc prepare {arguments} --overwrite; "
            "or keep both: set dataset.folder=ANOTHER_FOLDER in all commands",
        )
    if not dataset.class_agnostic:
        return annotations
    videos = {
        video.id: replace(video, actions=tuple(replace(action, label=_ANY_CLASS) for action in video.actions))
        for video in annotations.videos.values()
    }
    return replace(annotations, classes=(_ANY_CLASS,), videos=videos)
