"""Mirrored clips of Something-Something get the label of the opposite direction, in any order of the classes."""

import json
from pathlib import Path

import pytest

from actloc.commands import prepare, train
from actloc.experiment import load
from actloc.recognition.mirrored_labels import labels_after_mirroring
from tests.toy_clips import COLOURS

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


def test_training_warns_of_mirrored_clips_whose_classes_have_no_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.txt").write_text(
        "".join(f"{name}{number}.mp4 {label}\n" for label, name in enumerate(COLOURS) for number in range(2))
    )
    (folder / "classes.txt").write_text("\n".join(COLOURS) + "\n")
    dataset = {"name": "clip_lists", "folder": "listed", "videos": "videos", "training_list": "train.txt"}
    for classes, mirror, is_warned in ((None, 0.5, True), (None, 0, False), ("classes.txt", 0.5, False)):
        given = {**dataset, "columns": "path label", "classes": classes}
        settings = [
            f"dataset={json.dumps(given)}",
            f"clips.mirror={mirror}",
            "schedule.epochs=1",
            "training.batch_size=6",
        ]
        prepare.run(load("toy.yaml", settings), overwrite=True)
        capsys.readouterr()
        train.run(load("toy.yaml", settings), overwrite=True)
        told = " ".join(capsys.readouterr().err.split())
        assert ("clips.mirror is 0.5, and the classes have no names (class_000 ...)" in told) == is_warned
