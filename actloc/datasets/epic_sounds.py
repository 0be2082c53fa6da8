"""EPIC-Sounds: 44 classes of sounds in EPIC-Kitchens-100's videos, from the official tables."""

from pathlib import Path

from actloc import console
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFolder, OptionalInputFile

_NUM_CLASSES = 44
_TABLES = {"EPIC_Sounds_train.csv": "training", "EPIC_Sounds_validation.csv": "validation"}
_TEST = "EPIC_Sounds_detection_test_videos.csv"
_TIMES = ("start_timestamp", "stop_timestamp")
_DECIMALS = 3  # of the official timestamps


class Config(DatasetConfig):
    """Where the annotations are."""

    annotations: InputFolder
    """A folder of EPIC_Sounds_train.csv and EPIC_Sounds_validation.csv, and of EPIC_Sounds_detection_test_videos.csv,
    whose videos have no published annotations."""
    video_info: OptionalInputFile = None
    """EPIC_100_video_info.csv of EPIC-Kitchens-100, with the durations of the videos; null: they are not known, and
    the rows of features cannot be checked against them."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses."""

    def collect(self) -> Annotations:
        """Annotations of every video, and all classes in the order of their numbers, even those that never occur."""
        subset_of: dict[str, str] = {}
        numbered: dict[str, list[tuple[float, float, int]]] = {}
        names: dict[int, str] = {}
        for path in self._tables():
            for row in published.read_rows(path, ("video_id", *_TIMES, "class_id")):
                start_s, end_s = (published.clock_seconds(row[time], path, _DECIMALS) for time in _TIMES)
                number = _class_number(row["class_id"], path)
                if row.get("class"):
                    names.setdefault(number, row["class"])
                subset_of[row["video_id"]] = _TABLES[path.name]
                numbered.setdefault(row["video_id"], []).append((start_s, end_s, number))
        test = self.annotations / _TEST
        for row in published.read_rows(test, ("video_id",)) if test.is_file() else ():
            subset_of.setdefault(row["video_id"], "test")
        classes = _classes(names, self.annotations)
        facts = self._facts()
        videos = {
            video_id: AnnotatedVideo(
                video_id,
                subset_of[video_id],
                tuple(Action(start_s, end_s, classes[number]) for start_s, end_s, number in numbered.get(video_id, ())),
                *facts.get(video_id, (None, None)),
            )
            for video_id in sorted(subset_of)
        }
        annotations = Annotations(classes, videos, keeps_past_end=True)
        return published.settle(annotations, published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Tables that the contract test writes."""
        tables = folder / "epic_sounds"
        return cls(folder=folder / "prepared", annotations=tables, video_info=tables / "EPIC_100_video_info.csv")

    def _tables(self) -> list[Path]:
        """The existing tables of sounds; warns about missing ones."""
        paths = [self.annotations / name for name in (*_TABLES, _TEST)]
        existing = [path for path in paths if path.is_file()]
        if not any(path.name in _TABLES for path in existing):
            raise UserError(
                f"{self.annotations} has none of {', '.join(_TABLES)}.",
                "Expected the official tables.",
                "Set dataset.annotations to a clone of epic-sounds-annotations.",
            )
        for path in paths:
            if path not in existing:
                console.warn(f"{path} is missing; the subset {_TABLES.get(path.name, 'test')!r} is empty")
        return [path for path in existing if path.name in _TABLES]

    def _facts(self) -> dict[str, tuple[float, float]]:
        """Duration and frame rate by video."""
        if self.video_info is None:
            return {}
        rows = published.read_rows(self.video_info, ("video_id", "duration", "fps"))
        return {
            row["video_id"]: (
                published.number(row["duration"], self.video_info),
                published.number(row["fps"], self.video_info),
            )
            for row in rows
        }


def _class_number(text: str, path: Path) -> int:
    number = int(published.number(text, path))
    if not 0 <= number < _NUM_CLASSES:
        raise UserError(
            f"{path} has a class_id {number}.", f"Expected 0 to {_NUM_CLASSES - 1}.", "Download the official file."
        )
    return number


def _classes(names: dict[int, str], folder: Path) -> tuple[str, ...]:
    """The name of every class, from the tables' column class; id_007 for a number without a name there."""
    classes = tuple(names.get(number, f"id_{number:03d}") for number in range(_NUM_CLASSES))
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise UserError(
            f"The tables in {folder} give the name {twice[0]!r} to several class_id.",
            "Expected a name for each class_id.",
            "Download the official files.",
        )
    return classes
