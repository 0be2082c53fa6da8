"""Diving48: 48 classes of competitive dives, from the JSONs of its version 2."""

from pathlib import Path

from actloc import files
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.recognition_classes import class_names
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem, UserError
from actloc.settings.sections import InputFolder
from actloc.video.clip_files import ClipFiles


class Config(ClipsConfig):
    """Where the lists and the videos are."""

    annotations: InputFolder
    """The folder of Diving48_V2_train.json and Diving48_V2_test.json. Version 1 has other, less reliable labels."""

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The published ones."""
        return class_names("diving48")

    def listed(self, found: ClipFiles) -> ClipList:
        """Every video of the two lists; the file of a video has the list's vid_name as its name."""
        classes = self.known_classes
        clips, problems = [], []
        for subset in ("train", "test"):
            path = self.annotations / f"Diving48_V2_{subset}.json"
            for number, (name, label) in enumerate(_entries(path)):
                where = f"{path}[{number}]"
                if 0 <= label < len(classes):
                    clips.append(LabelledClip(name, (classes[label],), subset, where))
                else:
                    problems.append(Problem(where, f"label {label}; expected 0 to {len(classes) - 1}"))
        return ClipList(self.annotations, classes, clips, problems)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "lists", videos=folder / "videos")


def _entries(path: Path) -> list[tuple[str, int]]:
    """Name and label of each video."""
    if not path.is_file():
        raise UserError(
            f"{path} does not exist.",
            "Expected Diving48_V2_train.json and Diving48_V2_test.json, the lists of version 2.",
            "Set dataset.annotations to their folder.",
        )
    try:
        return [(str(entry["vid_name"]), int(entry["label"])) for entry in files.read_json(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a list of videos: {error!r}.",
            'Expected [{"vid_name": "b8NAjD1mTAg_00066", "label": 12, ...}, ...].',
            "Download the official file.",
        ) from error
