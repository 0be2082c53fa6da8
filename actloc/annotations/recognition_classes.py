"""The class names of recognition datasets, in the order of the numbers that published lists and checkpoints use."""

from pathlib import Path
from typing import Literal, get_args

from actloc import console, files

_FILE = Path(__file__).with_name("recognition_classes.json")
SOMETHING_V1 = "something_something_v1"
_SOMETHING_V2 = "something_something_v2"
Dataset = Literal[
    "kinetics400",
    "kinetics600",
    "something_something_v1",
    "something_something_v2",
    "hmdb51",
    "ucf101",
    "diving48",
]
DATASETS: tuple[str, ...] = get_args(Dataset)


def class_names(dataset: str) -> tuple[str, ...]:
    """The names of one of `DATASETS`; those of Something-Something V1 are in the order of its published CSV.

    Kinetics: alphabetical. HMDB51, UCF101: the number in classInd.txt, less one. Diving48: the label of version 2.
    Something-Something V2 numbers the names of V1 in alphabetical order.
    """
    listed: dict[str, list[str]] = files.read_json(_FILE)
    return tuple(sorted(listed[SOMETHING_V1])) if dataset == _SOMETHING_V2 else tuple(listed[dataset])


class NamesAsWritten:
    """Finds a class by its name in any of the forms that lists and folders give it."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = {_plain(name): name for name in classes}
        self._exact = frozenset(classes)

    def find(self, text: str) -> str | None:
        """The class: `shaking_hands`, `"shaking hands"` and `Shaking  hands` are shaking hands. None if there is none.

        Something-Something's templates write `[something]` for something.
        """
        return text if text in self._exact else self._classes.get(_plain(text))

    def unknown(self, text: str) -> str:
        """What is wrong with a name that is not found."""
        return f"unknown class {text!r}{console.nearest(text, self._exact)}"


def _plain(name: str) -> str:
    """The letters that all forms of a name have."""
    for mark in '"[]':
        name = name.replace(mark, "")
    return " ".join(name.replace("_", " ").split()).casefold()
