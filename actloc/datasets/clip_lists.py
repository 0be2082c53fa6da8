"""Clips of ready-made list files, as TAM, DualFormer and mmaction2 read them: `path frames label` and the like."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import model_validator

from actloc import files
from actloc.annotations import labelled_lists
from actloc.annotations.labelled_lists import ClipList, Columns
from actloc.annotations.recognition_classes import DATASETS, Dataset, class_names
from actloc.datasets.base import ClipsConfig
from actloc.errors import UserError
from actloc.settings.sections import InputPath, OptionalInputFile
from actloc.video.clip_files import ClipFiles


class Config(ClipsConfig):
    """The lists, what their columns are, and the names of the classes."""

    training_list: OptionalInputFile = None
    """The list of the subset train."""
    validation_list: OptionalInputFile = None
    """The list of the subset validation."""
    test_list: OptionalInputFile = None
    """The list of the subset test."""
    columns: Columns | None = None
    """What a line has; its frames may be of a video or a folder of frames, and offset is the number of the first one,
    from 0: with it, a clip is a part of a video. null: as many numbers as most lines end with."""
    multi_label: bool = False
    """Lines may end with several labels; this needs `columns`."""
    classes: Annotated[Dataset | Path | None, InputPath("file")] = None
    """Names of the classes: those of a dataset (kinetics400, kinetics600, something_something_v1 or v2, hmdb51, ucf101,
    diving48), or a text file with a name on each line, in the order of the labels. null: class_000, class_001 ..."""

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if not any((self.training_list, self.validation_list, self.test_list)):
            raise ValueError("training_list: expected at least one of training_list, validation_list and test_list")
        if self.multi_label and self.columns is None:
            raise ValueError("columns: multi_label=true needs them; set columns to 'path frames label' or 'path label'")
        given = [name for name, path in self._lists().items() if path and name != self.training_subset]
        if given and self.evaluation_subset not in given:
            found = f"evaluation_subset: found {self.evaluation_subset}, which has no list"
            raise ValueError(f"{found}; set evaluation_subset={given[0]} or {self.evaluation_subset}_list")
        return self

    def listed(self, found: ClipFiles) -> ClipList:
        """The lines of all lists."""
        given = {subset: path for subset, path in self._lists().items() if path}
        names = _names(self.classes) if self.classes else None
        return labelled_lists.read(given, self.columns, names, multi_label=self.multi_label)

    def _lists(self) -> dict[str, Path | None]:
        return {"train": self.training_list, "validation": self.validation_list, "test": self.test_list}

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        lists = {"training_list": folder / "train.txt", "test_list": folder / "test.txt"}
        return cls(folder=folder / "prepared", videos=folder / "videos", **lists)


def _names(classes: str | Path) -> tuple[str, ...]:
    """The names of a dataset's classes, or the lines of a file, without the numbers that all of them may begin with."""
    if classes in DATASETS:
        return class_names(str(classes))
    path = Path(classes)
    lines = [line.strip() for line in files.read_lines(path) if line.strip()]
    numbered = [re.fullmatch(r"(\d{1,9})[\s,]+(.+)", line) for line in lines]
    if all(match and int(match[1]) - index in (0, 1) for index, match in enumerate(numbered)):
        lines = [match[2] for match in numbered if match]
    repeated = sorted({line for line in lines if lines.count(line) > 1})
    if repeated or not lines:
        raise UserError(
            f"{path} has {f'the class {repeated[0]!r} twice' if repeated else 'no lines'}.",
            "Expected the name of each class once, on a line of its own.",
            "Fix it, or set dataset.classes to another file.",
        )
    return tuple(lines)
