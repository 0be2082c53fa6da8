"""Kinetics-400 and Kinetics-600: 10 s clips of YouTube, from the official CSVs train, val and test."""

from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.recognition_classes import NamesAsWritten, class_names
from actloc.annotations.tables import TOO_MANY, read_table
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem, UserError
from actloc.settings.sections import InputFolder
from actloc.video.clip_files import ClipFiles

_COLUMNS = {
    "label": ("label", "label-name", "label_name", "class", "class_name", "# label"),
    "id": ("youtube_id", "video-id", "video_id", "youtube-id", "ytid", "id"),
    "start": ("time_start", "start-time", "start_time", "start"),
    "end": ("time_end", "end-time", "end_time", "end"),
    "split": ("split", "subset", "set"),
}
_FILES = {"train": "train", "val": "validation", "validate": "validation", "validation": "validation", "test": "test"}
"""The subset of a CSV by the last part of its name: train.csv, kinetics-400_val.csv, k600_validate.csv."""
_SPLITS = {**_FILES, "training": "train", "valid": "validation", "testing": "test"}


class Config(ClipsConfig):
    """Which Kinetics, and where its CSVs and videos are."""

    num_classes: Literal[400, 600] = 400
    """Kinetics-400 or Kinetics-600."""
    annotations: InputFolder
    """The folder of train.csv, val.csv and, if it has labels, test.csv, with the columns label, youtube_id, time_start,
    time_end and split. Longer names are fine: kinetics-400_train.csv."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses: results on Kinetics are on its validation videos."""

    @property
    def variant(self) -> str:
        """The number of classes."""
        return f"{self.num_classes} classes"

    @property
    def known_classes(self) -> tuple[str, ...]:
        """The published ones."""
        return class_names(f"kinetics{self.num_classes}")

    def listed(self, found: ClipFiles) -> ClipList:
        """Rows of the CSVs; the file of a row is ID_START_END with six digits for each time, in any folder."""
        classes = self.known_classes
        names = NamesAsWritten(classes)
        clips: dict[tuple[str, tuple[str, ...], str], LabelledClip] = {}
        problems: list[Problem] = []
        for path, subset_of_file in _tables(self.annotations).items():
            rows = read_table(path, _COLUMNS, ["split"], "dataset.annotations")
            for line, row in rows:
                clip, problem = _clip(row, subset_of_file, names, f"{path}:{line}")
                if clip is None:
                    problems.append(Problem(f"{path}:{line}", problem))
                else:
                    clips.setdefault((clip.path, clip.labels, clip.subset), clip)  # some copies of the CSVs repeat rows
        return ClipList(self.annotations, classes, list(clips.values()), problems)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Files that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "csv", videos=folder / "videos")


def _tables(folder: Path) -> dict[Path, str]:
    """The CSVs that belong to a subset."""
    tables = {path: path.stem.lower().replace("-", "_").split("_")[-1] for path in sorted(folder.glob("*.csv"))}
    of_subset = {path: _FILES[end] for path, end in tables.items() if end in _FILES}
    others = [path.name for path in tables if path not in of_subset]
    if not of_subset:
        raise UserError(
            f"{folder} has no train.csv or val.csv{f', but {console.first_ten(others)}' if others else ''}.",
            "Expected the CSVs of Kinetics, whose names end in train, val, validate or test.",
            "Set dataset.annotations to their folder.",
        )
    if others:
        console.say(f"Ignored in {folder}: {console.first_ten(others)}")
    return of_subset


def _clip(
    row: dict[str, str], subset_of_file: str, names: NamesAsWritten, where: str
) -> tuple[LabelledClip | None, str]:
    """The clip of a row, or what is wrong with the row."""
    label = names.find(row["label"])
    if row[TOO_MANY] or label is None:
        return None, row[TOO_MANY] or names.unknown(row["label"])
    try:
        start_s, end_s = (int(float(row[name])) for name in ("start", "end"))
    except (ValueError, OverflowError):
        return None, f"cannot read the times {row['start']!r} and {row['end']!r}; expected seconds"
    split = row.get("split", "")
    if split and split.lower() not in _SPLITS:
        return None, f"unknown split {split!r}{console.nearest(split, _SPLITS)}"
    subset = _SPLITS[split.lower()] if split else subset_of_file
    return LabelledClip(f"{row['id']}_{start_s:06d}_{end_s:06d}", (label,), subset, where), ""
