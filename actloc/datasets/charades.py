"""Charades: 157 everyday actions in 7,985 + 1,863 home videos, from the official tables or super-events' JSON."""

from pathlib import Path

from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_NUM_CLASSES, _FIRST = 157, 0
_SUBSETS = {"Charades_v1_train.csv": "training", "Charades_v1_test.csv": "testing"}


class Config(DatasetConfig):
    """Where the annotations and the class names are."""

    annotations: InputFileOrFolder
    """charades.json, with classes numbered 0 to 156, or a folder of the official Charades_v1_train.csv and
    Charades_v1_test.csv."""
    class_names: OptionalInputFile = None
    """The official Charades_v1_classes.txt, lines `c000 Holding some clothes`. null: c000 to c156."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "testing"
    """The subset that `eval` uses."""

    def collect(self) -> Annotations:
        """Annotations of every video, all 157 classes in the order of their numbers."""
        if self.annotations.is_dir():
            annotations = _read_tables(self.annotations, self.class_names)
        else:
            annotations = published.read_numbered_actions(
                self.annotations, _NUM_CLASSES, _FIRST, self.class_names, _default_name
            )
        return published.settle(annotations, published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "charades.json")


def _default_name(number: int) -> str:
    return f"c{number:03d}"


def _read_tables(folder: Path, names: Path | None) -> Annotations:
    """Reads the videos of both tables; a cell `actions` is empty or like `c092 11.90 21.20;c147 0.00 12.60`."""
    given = published.read_class_names(names) if names else {}
    classes = {_default_name(number): given.get(number, _default_name(number)) for number in range(_NUM_CLASSES)}
    videos = {}
    for name, subset in _SUBSETS.items():
        path = folder / name
        for row in published.read_rows(path, ("id", "actions", "length")):
            actions = [_action(text, classes, path) for text in row["actions"].split(";") if text.strip()]
            length_s = published.number(row["length"], path)
            videos[row["id"]] = AnnotatedVideo(row["id"], subset, tuple(actions), length_s)
    return Annotations(tuple(classes.values()), dict(sorted(videos.items())), keeps_past_end=True)


def _action(text: str, classes: dict[str, str], path: Path) -> Action:
    cells = text.split()
    if len(cells) != 3 or cells[0] not in classes:
        raise UserError(
            f"{path}: {text!r} is not an action.", "Expected `c092 11.90 21.20`.", "Download the official file again."
        )
    return Action(published.number(cells[1], path), published.number(cells[2], path), classes[cells[0]])
