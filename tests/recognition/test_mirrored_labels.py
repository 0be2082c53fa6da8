"""Mirrored clips of Something-Something get the label of the opposite direction, in any order of the classes."""

from actloc.recognition.mirrored_labels import labels_after_mirroring

PAIRS = [
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
]


def classes_with(numbers: list[tuple[int, int]]) -> list[str]:
    """The 174 classes with the pairs at these numbers."""
    classes = [f"class {number}" for number in range(174)]
    for pair, places in zip(PAIRS, numbers, strict=True):
        for name, place in zip(pair, places, strict=True):
            classes[place] = name
    return classes


def test_the_pairs_of_both_orders_swap_and_all_other_labels_stay() -> None:
    for numbers in ([(86, 87), (93, 94), (166, 167)], [(66, 52), (30, 41), (2, 4)]):
        found = labels_after_mirroring(classes_with(numbers))
        changed = {number: label for number, label in enumerate(found) if number != label}
        assert changed == {**dict(numbers), **{second: first for first, second in numbers}}


def test_a_class_without_its_partner_stays() -> None:
    assert labels_after_mirroring(["Pulling something from left to right", "Walking", "Left turn"]) == [0, 1, 2]
    assert labels_after_mirroring([]) == []
