"""Which class a mirrored clip shows: in Something-Something, left and right are parts of three pairs of classes."""

import re
from collections.abc import Sequence

_MADE_UP = re.compile(r"class_\d+")
_SWAPPED = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)


def are_made_up(classes: Sequence[str]) -> bool:
    """Whether classes only have the names that lists without names give them: nothing says which ones are mirrored."""
    return all(_MADE_UP.fullmatch(name) for name in classes)


def labels_after_mirroring(classes: Sequence[str]) -> list[int]:
    """The number of the class that each class becomes when left and right change places: its own for most.

    Pairs are known by name, because the same classes have other numbers in another order. In alphabetical order they
    are 86 and 87, 93 and 94, 166 and 167, which TAM swaps in Something-Something V2; in the order of V1's class list 2
    and 4, 30 and 41, 52 and 66, as in mmaction2. TAM never mirrors V1: leave `mirror` at 0 there to train as it does.
    """
    number_of = {name: number for number, name in enumerate(classes)}
    other = {**dict(_SWAPPED), **{second: first for first, second in _SWAPPED}}
    return [number_of.get(other.get(name, name), number) for number, name in enumerate(classes)]
