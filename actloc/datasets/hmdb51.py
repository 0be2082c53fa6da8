"""HMDB51: 51 classes of clips from films and YouTube, from the official lists of its three splits."""

from pathlib import Path
from typing import Literal

from actloc import console, files
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.recognition_classes import class_names
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem, UserError
from actloc.settings.sections import InputFolder
from actloc.video.clip_files import ClipFiles

_SUBSETS = {"0": "", "1": "train", "2": "test"}
"""What the number on a line says; a split does not use the videos of 0."""


class Config(ClipsConfig):
    """Which split, and where its lists and the videos are."""

    split: Literal[1, 2, 3] = 1
    """The split: results on HMDB51 are of split 1, or the mean of all three."""
    annotations: InputFolder
    """The folder of the official lists brush_hair_test_split1.txt and so on, three for each class."""

    @property
    def variant(self) -> str:
        """The split."""
        return f"split {self.split}"

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The published ones."""
        return class_names("hmdb51")

    def listed(self, found: ClipFiles) -> ClipList:
        """The videos that each class's list gives to training (`video.avi 1`) or to testing (`video.avi 2`)."""
        classes = self.known_classes
        clips, problems = [], []
        for label, path in self._lists(classes).items():
            for number, line in enumerate(files.read_lines(path), 1):
                name, _, use = line.strip().rpartition(" ")
                if use in _SUBSETS and name.strip():
                    if _SUBSETS[use]:
                        clips.append(
                            LabelledClip(f"{label}/{name.strip()}", (label,), _SUBSETS[use], f"{path}:{number}")
                        )
                elif line.strip():
                    problems.append(Problem(f"{path}:{number}", f"found {line!r}; expected `video.avi 1`, 2 or 0"))
        return ClipList(self.annotations, classes, clips, problems)

    def _lists(self, classes: tuple[str, ...]) -> dict[str, Path]:
        """The list of each class."""
        lists = {label: self.annotations / f"{label}_test_split{self.split}.txt" for label in classes}
        missing = [path.name for path in lists.values() if not path.is_file()]
        if missing:
            raise UserError(
                f"{self.annotations} is missing {console.count(len(missing), 'list')}: {console.first_ten(missing)}.",
                f"Expected one for each of the {len(classes)} classes, from test_train_splits.rar.",
                "Set dataset.annotations to the folder testTrainMulti_7030_splits.",
            )
        return lists

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "lists", videos=folder / "videos")
