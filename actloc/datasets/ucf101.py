"""UCF101: 101 classes of YouTube clips, from the official lists of its three splits."""

import re
from pathlib import Path
from typing import Literal

from actloc import files
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.recognition_classes import NamesAsWritten, class_names
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem, UserError
from actloc.settings.sections import InputFolder
from actloc.video.clip_files import ClipFiles

_LINE = re.compile(r"(?P<path>(?P<label>[^/\\]+)[/\\].+?)(?:\s+(?P<number>\d+))?")


class Config(ClipsConfig):
    """Which split, and where its lists and the videos are."""

    split: Literal[1, 2, 3] = 1
    """The split: results on UCF101 are of split 1, or the mean of all three."""
    annotations: InputFolder
    """The folder of the official lists trainlist01.txt, testlist01.txt and so on."""

    @property
    def variant(self) -> str:
        """The split."""
        return f"split {self.split}"

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The published ones."""
        return class_names("ucf101")

    def listed(self, found: ClipFiles) -> ClipList:
        """The lines of the split's two lists: `Class/video.avi`, and for training also the number of the class."""
        classes = self.known_classes
        names, clips, problems = NamesAsWritten(classes), [], []
        for subset in ("train", "test"):
            path = self.annotations / f"{subset}list{self.split:02d}.txt"
            for number, line in enumerate(_lines(path), 1):
                where, match = f"{path}:{number}", _LINE.fullmatch(line.strip())
                label = names.find(match["label"]) if match else None
                if not line.strip():
                    continue
                if not match:
                    problems.append(Problem(where, f"found {line!r}; expected `Class/video.avi 1`"))
                elif label is None:
                    problems.append(Problem(where, names.unknown(match["label"])))
                elif match["number"] and int(match["number"]) != classes.index(label) + 1:
                    what = f"label {match['number']} with {label}, whose number is {classes.index(label) + 1}"
                    problems.append(Problem(where, what))
                else:
                    clips.append(LabelledClip(match["path"], (label,), subset, where))
        return ClipList(self.annotations, classes, clips, problems)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "lists", videos=folder / "videos")


def _lines(path: Path) -> list[str]:
    try:
        return files.read_lines(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} cannot be read: {error}.",
            "Expected the lists of UCF101TrainTestSplits-RecognitionTask.zip.",
            "Set dataset.annotations to the folder ucfTrainTestlist.",
        ) from error
