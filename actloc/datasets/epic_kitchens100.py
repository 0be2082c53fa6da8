"""EPIC-Kitchens-100: 97 verbs or 300 nouns in 700 videos, from the official tables or ActionFormer's JSON."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_NUM_CLASSES = {"verb": 97, "noun": 300}
_TRAINING = "EPIC_100_train.csv"
_TABLES = {
    _TRAINING: "training",
    "EPIC_100_validation.csv": "validation",
    "EPIC_100_test_timestamps.csv": "test",
}
_TRAINING_FRAMES = "c2/training.csv"
_FRAMES_FPS = 30.0  # at this rate, all 22,760 rows that both tables have agree within one frame
_INFO = "EPIC_100_video_info.csv"
_DECIMALS = 2  # of the official timestamps


class Config(DatasetConfig):
    """Where the annotations are, and whether classes are verbs or nouns."""

    annotations: InputFileOrFolder
    """ActionFormer's JSON, or a folder of EPIC_100_{train,validation,test_timestamps,video_info}.csv. If
    EPIC_100_train.csv is missing, c2/training.csv of C2-Action-Detection replaces it; its times are whole frames."""
    labels: Literal["verb", "noun"] = "verb"
    """Whether classes are verbs or nouns."""
    class_names: OptionalInputFile = None
    """EPIC_100_verb_classes.csv or EPIC_100_noun_classes.csv; null: classes are named id_000, id_001, ..."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses."""

    @property
    def variant(self) -> str:
        """Verbs or nouns."""
        return f"{self.labels}s"

    def collect(self) -> Annotations:
        """Annotations of every video, and all classes in the order of their numbers, even those that never occur."""
        given = published.read_class_names(self.class_names) if self.class_names else {}
        classes = [given.get(number, f"id_{number:03d}") for number in range(_NUM_CLASSES[self.labels])]
        if self.annotations.is_dir():
            annotations = Annotations(tuple(classes), self._videos(classes), keeps_past_end=True)
        else:
            annotations = annotation_form.read_published(self.annotations, self.folder)
            unnamed = classes[len(annotations.classes) :]
            annotations = replace(annotations, classes=(*annotations.classes, *unnamed))
        return published.settle(annotations, published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Tables that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "epic")

    def _tables(self) -> dict[Path, str]:
        """The existing tables and their subsets, with C2's for a missing official one; warns about missing tables."""
        tables = {self.annotations / name: subset for name, subset in _TABLES.items()}
        frames = self.annotations / _TRAINING_FRAMES
        if not (self.annotations / _TRAINING).is_file() and frames.is_file():
            tables = {frames if path.name == _TRAINING else path: subset for path, subset in tables.items()}
            console.warn(f"{_TRAINING} is missing; using {frames} instead, whose times are up to 0.03 s early")
        existing = {path: subset for path, subset in tables.items() if path.is_file()}
        if not existing:
            raise UserError(
                f"{self.annotations} has none of {', '.join(_TABLES)}.",
                "Expected the official tables.",
                "Set dataset.annotations to a clone of epic-kitchens-100-annotations.",
            )
        for path in tables.keys() - existing.keys():
            console.warn(f"{path} is missing; the subset {tables[path]!r} is empty")
        return existing

    def _videos(self, classes: list[str]) -> dict[str, AnnotatedVideo]:
        """Videos of the existing tables, with durations and frame rates from the table of videos."""
        subset_of: dict[str, str] = {}
        actions: dict[str, list[Action]] = {}
        for path, subset in self._tables().items():
            if path.name == Path(_TRAINING_FRAMES).name:
                rows: Iterator[tuple[str, Action | None]] = _read_frames(path, self.labels, classes)
            else:  # the test table names no classes
                rows = _read_times(path, None if subset == "test" else f"{self.labels}_class", classes)
            for video_id, action in rows:
                subset_of[video_id] = subset
                if action is not None:
                    actions.setdefault(video_id, []).append(action)
        info = published.read_rows(self.annotations / _INFO, ("video_id", "duration", "fps"))
        where = self.annotations / _INFO
        facts = {
            row["video_id"]: tuple(published.number(row[key], where) for key in ("duration", "fps")) for row in info
        }
        return {
            video_id: AnnotatedVideo(
                video_id, subset_of[video_id], tuple(actions.get(video_id, ())), *facts.get(video_id, (None, None))
            )
            for video_id in sorted(subset_of)
        }


def _read_times(path: Path, column: str | None, classes: list[str]) -> Iterator[tuple[str, Action | None]]:
    """The video and the action of each row of an official table; None for the action if `column` is None."""
    times = ("start_timestamp", "stop_timestamp")
    for row in published.read_rows(path, ("video_id", *times, *([column] if column else []))):
        start_s, end_s = (published.clock_seconds(row[time], path, _DECIMALS) for time in times)
        yield row["video_id"], Action(start_s, end_s, _label(row[column], classes, path)) if column else None


def _read_frames(path: Path, column: str, classes: list[str]) -> Iterator[tuple[str, Action]]:
    """The video and the action of each row of C2-Action-Detection's training.csv."""
    for row in published.read_rows(path, ("video", "start", "stop", column)):
        start_s, end_s = (published.number(row[time], path) / _FRAMES_FPS for time in ("start", "stop"))
        yield row["video"], Action(start_s, end_s, _label(row[column], classes, path))


def _label(class_number: str, classes: list[str], path: Path) -> str:
    index = int(published.number(class_number, path))
    if not 0 <= index < len(classes):
        raise UserError(
            f"{path} has a class {index}.",
            f"Expected 0 to {len(classes) - 1}.",
            "Set dataset.labels to verb or noun.",
        )
    return classes[index]
