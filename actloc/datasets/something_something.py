"""Something-Something V1 (folders of frames) and V2 (videos): 174 classes, from the official CSVs or JSONs."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from actloc import console, files
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.recognition_classes import SOMETHING_V1, NamesAsWritten, class_names
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem, UserError
from actloc.settings.sections import InputFolder
from actloc.video.clip_files import ClipFiles

_SUBSETS = ("train", "validation")


class Config(ClipsConfig):
    """Which version, and where its lists and videos are."""

    version: Literal[1, 2] = 2
    """1: folders of frames and CSVs; 2: videos and JSONs."""
    annotations: InputFolder
    """The folder of the official lists: something-something-v1-train.csv and -validation.csv (`id;label`), or
    something-something-v2-train.json and -validation.json, or train.json and validation.json."""
    class_order: Literal["alphabetical", "csv"] = "alphabetical"
    """How classes are numbered. V1: alphabetical as in TAM's checkpoints, or in the order of the official labels CSV as
    in mmaction2's; a classifier of one order is wrong in the other. V2: alphabetical, which its JSON has too."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses: the labels of the test videos are not public."""

    @model_validator(mode="after")
    def _has_this_order(self) -> Self:
        if self.version == 2 and self.class_order == "csv":
            raise ValueError("class_order: found csv, which only version 1 has; set class_order=alphabetical")
        return self

    @property
    def variant(self) -> str:
        """The version and, of version 1, the order of classes."""
        orders = {"alphabetical": "alphabetical", "csv": "in the order of the labels CSV"}
        return "V2" if self.version == 2 else f"V1, classes {orders[self.class_order]}"

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The published ones, in the order that the settings choose."""
        in_csv_order = class_names(SOMETHING_V1)
        return in_csv_order if self.class_order == "csv" else tuple(sorted(in_csv_order))

    def listed(self, found: ClipFiles) -> ClipList:
        """Every training and validation video of the lists; the file of a video has its id as its name."""
        classes = self.known_classes
        names = NamesAsWritten(classes)
        clips: list[LabelledClip] = []
        problems: list[Problem] = []
        for subset in _SUBSETS:
            path = self._list(subset)
            for where, video_id, written in _from_csv(path) if self.version == 1 else _from_json(path):
                label = names.find(written)
                if label is None:
                    problems.append(Problem(where, names.unknown(written)))
                else:
                    clips.append(LabelledClip(video_id, (label,), subset, where))
        return ClipList(self.annotations, classes, clips, problems)

    def _list(self, subset: str) -> Path:
        suffix = "csv" if self.version == 1 else "json"
        paths = sorted(path for path in self.annotations.glob(f"*.{suffix}") if path.stem.split("-")[-1] == subset)
        if len(paths) != 1:
            there = console.first_ten(path.name for path in paths) or "none"
            raise UserError(
                f"{self.annotations} has {len(paths)} lists of {subset} videos ({there}).",
                f"Expected one of version {self.version}: something-something-v{self.version}-{subset}.{suffix}.",
                "Set dataset.annotations to the folder of the official lists, and dataset.version to theirs.",
            )
        return paths[0]

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        return cls(folder=folder / "prepared", version=1, annotations=folder / "lists", videos=folder / "videos")


def _from_csv(path: Path) -> list[tuple[str, str, str]]:
    """Place, id and label of each line `id;label`."""
    rows = []
    for number, line in enumerate(files.read_lines(path), 1):
        video_id, _, label = line.partition(";")
        if line.strip():
            rows.append((f"{path}:{number}", video_id.strip(), label.strip()))
    return rows


def _from_json(path: Path) -> list[tuple[str, str, str]]:
    """Place, id and class of each entry; `template` has the class, with [something] in brackets."""
    listed = files.read_json(path)
    try:
        return [(f"{path}[{number}]", str(entry["id"]), str(entry["template"])) for number, entry in enumerate(listed)]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a list of videos: {error!r}.",
            'Expected [{"id": "78687", "template": "Holding [something] next to [something]"}, ...].',
            "Download the official file.",
        ) from error
