"""The results of an evaluation, which `actloc eval` writes to `eval/<subset>/metrics.json` of the run.

`actloc report` needs only this file and `predictions.json`. A number that was not measured is None in Python, null in
the file and a dash on the page.
"""

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError, model_validator

from actloc import console, files
from actloc.errors import UserError
from actloc.settings.choices import FusionLabels, FusionUnit

METRICS_NAME = "metrics.json"
UNKNOWN_VIDEOS = "videos of unknown predictions"
"""The heading in `Counts.names` of the videos outside the subset that have predictions."""
UNKNOWN_LABELS = "labels of ignored predictions"
"""The heading in `Counts.names` of the labels outside the dataset's classes."""

_Form = TypeVar("_Form", bound="Record")
Proportion = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""From 0 to 1; rounding may lift the mean of ones slightly above 1."""


class Record(BaseModel):
    """A part of a results file: frozen, strict about types, without unknown keys, nan or inf."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TrueAction(Record):
    """One annotated action."""

    label: str
    start_s: float
    end_s: float


class Video(Record):
    """A video of the subset with its true actions, so that a report needs no annotation file."""

    id: str
    duration_s: NonNegativeFloat
    truth: list[TrueAction] = []


class Threshold(Record):
    """The score threshold at which a class's predictions have the best F1."""

    score: float | None
    """None if the class has no true action or no prediction."""
    f1: Proportion


class Counts(Record):
    """How much was scored, and what was left out or missed, so that nothing goes missing silently."""

    videos: NonNegativeInt
    truths: NonNegativeInt
    predictions: NonNegativeInt
    videos_without_predictions: list[str] = []
    truths_missed_there: NonNegativeInt = 0
    """True actions of the videos without predictions; they count as missed."""
    videos_without_features: list[str] = []
    predictions_of_unknown_videos: NonNegativeInt = 0
    unknown_labels: NonNegativeInt = 0
    duplicates_removed: NonNegativeInt = 0
    ties: NonNegativeInt = 0
    """Predictions that share their score with another of their class: the protocol decides their order."""
    dropped: dict[str, NonNegativeInt] = {}
    """What else was left out, and how many: `{"predictions of zero length": 3}`."""
    names: dict[str, list[str]] = {}
    """The names that make up a count, under a heading: `{"videos of unknown predictions": ["v_1"]}`."""


class ClassifierRecord(Record):
    """What gave detections their classes, and how good it is by itself."""

    file: str
    """The file of class scores; own for the detector's class scores, truth for the true classes."""
    sha256: str | None
    """Of the file; None without one."""
    form: str | None
    """Of the file; None without one."""
    facts: dict[str, str | int] = {}
    """Where the file's scores come from, as it says: the run, its checkpoint, the number of views."""
    per: FusionUnit = "video"
    """What has class scores of its own: each video, or each segment."""
    rule: str
    labels: FusionLabels = "replace"
    """Whether detections were given the `top_k` best classes, or kept theirs."""
    top_k: NonNegativeInt
    top_1: Proportion | None
    """Per video, the share of videos whose highest-scoring class is one of their true ones; per segment, the share of
    true actions whose class scores highest in their segment."""
    true_class_mean_ap: list[Proportion | None]
    """Per tIoU, the mAP of the same detections if the classifier were perfect: per video, with the true classes of
    their video; per segment, with the class of the true action that each overlaps most."""
    is_upper_bound: bool = False
    """Whether the results themselves were measured with true classes, so that they are no results of a method."""


class ResultsHead(Record):
    """What results of every task say about themselves: where they come from."""

    task: str
    """The task, whose own class of results describes the rest."""
    name: str
    """Name of the run."""
    dataset: str
    variant: str = ""
    """The published variant of the dataset, such as test set 212; empty if there is only one."""
    subset: str
    seed: int | None
    checkpoint: str
    """Name of the checkpoint, or of the file that the predictions were read from."""
    weights: Literal["averaged", "raw"] | None
    """None if the predictions were read from a file."""
    commit: str | None
    code: dict[str, str] = {}
    """The user's own code: the sha256 of each file by its path."""
    machine: str
    version: str
    """Version of actloc."""
    created: str
    """Date and time, ISO 8601."""
    beside_sha256: dict[str, str] = {}
    """The sha256 of each file that the same evaluation wrote beside this one, by its name."""

    def headline(self) -> str:
        """The number that the task is judged by, with its name."""
        raise NotImplementedError(f"{type(self).__name__} has no number that it is judged by")


class Results(ResultsHead):
    """Everything that one evaluation of a detector measured."""

    task: Literal["localization"] = "localization"
    protocol: str
    tious: list[Proportion]
    mean_ap: list[Proportion | None]
    """Per tIoU."""
    average_map: Proportion | None
    classes: list[str]
    class_ap: list[list[Proportion | None]]
    """Per class, per tIoU."""
    truth_per_class: list[NonNegativeInt]
    thresholds: list[Threshold]
    """Per class."""
    counts: Counts
    videos: list[Video]
    recall_multiples: list[NonNegativeInt] = []
    """The k of each Recall@kx that was measured."""
    recall: list[list[Proportion | None]] = []
    """Per k, per tIoU: the mean over classes."""
    classifier: ClassifierRecord | None = None
    """None if no classifier was used."""

    @model_validator(mode="after")
    def _lists_belong_together(self) -> Self:
        for name in ("class_ap", "truth_per_class", "thresholds"):
            if len(getattr(self, name)) != len(self.classes):
                raise ValueError(f"{name} has length {len(getattr(self, name))}, classes has {len(self.classes)}")
        if len(self.recall) != len(self.recall_multiples):
            raise ValueError(f"recall has length {len(self.recall)}, recall_multiples has {len(self.recall_multiples)}")
        rows = [self.mean_ap, *self.class_ap, *self.recall]
        rows += [self.classifier.true_class_mean_ap] if self.classifier else []
        if any(len(row) != len(self.tious) for row in rows):
            raise ValueError("mean_ap and each row of AP and recall need one entry per tIoU")
        return self

    def headline(self) -> str:
        """The average mAP, in percent."""
        return f"average mAP {'-' if self.average_map is None else f'{100 * self.average_map:.2f}'}"

    def score_thresholds(self) -> dict[str, float | None]:
        """The best-F1 score threshold of each class by its name."""
        return {label: threshold.score for label, threshold in zip(self.classes, self.thresholds, strict=True)}


def write_results(folder: Path, results: ResultsHead, *beside: Path) -> Path:
    """Writes `metrics.json` into `folder`, after the files `beside` it that belong to it; returns its path."""
    path = folder / METRICS_NAME
    sha256 = {file.name: files.sha256_of_file(file) for file in beside}
    files.write_json(path, {**results.model_dump(mode="json"), "beside_sha256": sha256})
    return path


def refuse_mixture(folder: Path, results: ResultsHead) -> None:
    """Raises UserError where a file beside `metrics.json` is of another evaluation, such as one that was killed."""
    for name, sha256 in results.beside_sha256.items():
        path = folder / Path(name).name
        if not path.is_file() or files.sha256_of_file(path) != sha256:
            raise UserError(
                f"{path} is {'not of the same evaluation as' if path.is_file() else 'missing beside'} {METRICS_NAME}.",
                "Expected both as one `actloc eval` wrote them.",
                f"Evaluate again: actloc eval {shlex.quote(str(folder.parent.parent))}",
            )


def task_of_results(folder: Path) -> str:
    """The name of the task that the results in `folder` are of; raises UserError if they are missing or damaged."""
    content = files.read_json(folder / METRICS_NAME)
    task = content.get("task") if isinstance(content, dict) else None
    return task if isinstance(task, str) else "localization"  # the only one there was before results named it


def read_results(folder: Path) -> Results:
    """Reads the results in `folder`; raises UserError if the file is missing, damaged or in another format."""
    return read_record(folder / METRICS_NAME, Results)


def read_record(path: Path, form: type[_Form]) -> _Form:
    """Reads a file of `eval`; raises UserError that names the first place where it is not what `form` describes."""
    content = files.read_json(path, keep_odd_numbers=True)
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        differences = console.count(error.error_count(), "place differs", "places differ")
        raise UserError(
            f"{path}: {place}: {first['msg']}.",
            f"Expected a file as actloc eval writes it; {differences}.",
            f"Evaluate again: actloc eval {path.parent.parent.parent}",
        ) from error
