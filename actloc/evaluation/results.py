"""What an evaluation leaves behind: `metrics.json` in our form and `predictions.json` in ActivityNet's form.

`actloc eval` writes both into `eval/<subset>/` of the run; `actloc report` needs nothing else. A number nobody measured
is None in Python, null in the file and a dash on the page.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError, model_validator

import actloc
from actloc import files
from actloc.errors import UserError

METRICS_NAME = "metrics.json"
PREDICTIONS_NAME = "predictions.json"

_Form = TypeVar("_Form", bound="Record")
# a mean or an area of ones may be a rounding error above 1
Fraction = Annotated[float, Field(ge=0, le=1 + 1e-9)]


class Record(BaseModel):
    """A part of a results file: frozen, complete, without values of another type or that are not finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TrueAction(Record):
    """One annotated action."""

    label: str
    start_s: float
    end_s: float


class Video(Record):
    """A video of the subset with its truth; the report needs no annotation file."""

    id: str
    duration_s: NonNegativeFloat
    truth: list[TrueAction] = []


class Threshold(Record):
    """The score from which on a class's predictions have the best F1."""

    score: float | None
    """None where the class has no truth or no prediction."""
    f1: Fraction


class Counts(Record):
    """How much there was, and what was left out or missed, by name (R7)."""

    videos: NonNegativeInt
    truths: NonNegativeInt
    predictions: NonNegativeInt
    videos_without_predictions: list[str] = []
    truths_missed_there: NonNegativeInt = 0
    """Truth of the videos without predictions; it counts as missed."""
    videos_without_features: list[str] = []
    predictions_of_unknown_videos: NonNegativeInt = 0
    unknown_labels: NonNegativeInt = 0
    duplicates_removed: NonNegativeInt = 0
    ties: NonNegativeInt = 0
    """Predictions that share their score with another of their class: the protocol chose their order."""
    dropped: dict[str, NonNegativeInt] = {}
    """Whatever else was left out, and how many: `{"predictions of zero length": 3}`."""
    names: dict[str, list[str]] = {}
    """The names behind a count, by a heading for people: `{"videos of unknown predictions": ["v_1"]}`."""


class ClassifierRecord(Record):
    """The classifier of whole videos that gave detections their classes, and what it is worth by itself."""

    file: str
    sha256: str
    form: str
    rule: str
    top_k: NonNegativeInt
    top_1: Fraction | None
    """Share of videos whose best class is one of their true ones."""
    true_class_mean_ap: list[Fraction | None]
    """Per tIoU, the mAP of the same detections with the true classes of their video, as a perfect classifier would."""


class Results(Record):
    """Everything one evaluation of one run measured, and where it comes from."""

    name: str
    """The run."""
    dataset: str
    variant: str = ""
    """Which of the dataset's published variants was scored, test set 212 for one; empty where there is only one."""
    subset: str
    protocol: str
    seed: int | None
    checkpoint: str
    """Its name, or the file that the predictions were read from."""
    weights: Literal["averaged", "raw"] | None
    """None where predictions were read from a file."""
    commit: str | None
    machine: str
    version: str
    """actloc's."""
    created: str
    """Date and time, ISO 8601."""
    tious: list[Fraction]
    mean_ap: list[Fraction | None]
    """Per tIoU."""
    average_map: Fraction | None
    classes: list[str]
    class_ap: list[list[Fraction | None]]
    """Per class, per tIoU."""
    truth_per_class: list[NonNegativeInt]
    thresholds: list[Threshold]
    """Per class."""
    counts: Counts
    videos: list[Video]
    recall_multiples: list[NonNegativeInt] = []
    """k of each Recall@kx that was measured."""
    recall: list[list[Fraction | None]] = []
    """Per k, per tIoU: the mean over classes."""
    classifier: ClassifierRecord | None = None
    """None where detections keep their own classes and nothing was compared."""

    @model_validator(mode="after")
    def _lists_belong_together(self) -> Self:
        for name in ("class_ap", "truth_per_class", "thresholds"):
            if len(getattr(self, name)) != len(self.classes):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {len(self.classes)} classes")
        if len(self.recall) != len(self.recall_multiples):
            raise ValueError(f"recall has {len(self.recall)} rows for {len(self.recall_multiples)} multiples")
        rows = [self.mean_ap, *self.class_ap, *self.recall]
        rows += [self.classifier.true_class_mean_ap] if self.classifier else []
        if any(len(row) != len(self.tious) for row in rows):
            raise ValueError(
                f"mean_ap and each row of AP and recall need one entry for each of {len(self.tious)} tIoUs"
            )
        return self

    def score_thresholds(self) -> dict[str, float | None]:
        """The best-F1 score of each class by its name."""
        return {label: threshold.score for label, threshold in zip(self.classes, self.thresholds, strict=True)}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One action a detector claims."""

    label: str
    score: float
    start_s: float
    end_s: float


Predictions = dict[str, list[Prediction]]
"""By video id."""


class _Claim(Record):
    label: str
    score: float
    segment: Annotated[list[float], Field(min_length=2, max_length=2)]


class _PredictionsFile(Record):
    version: str
    results: dict[str, list[_Claim]]
    external_data: dict[str, object]


def write_results(folder: Path, results: Results) -> Path:
    """Writes `metrics.json` into `folder`; returns its path."""
    path = folder / METRICS_NAME
    files.write_json(path, results.model_dump(mode="json"))
    return path


def read_results(folder: Path) -> Results:
    """The results in `folder`; a file that is absent, damaged or of another form is the user's error."""
    return _read(folder / METRICS_NAME, Results)


def write_predictions(folder: Path, predictions: Predictions) -> Path:
    """Writes `predictions.json` into `folder`; returns its path."""
    path = folder / PREDICTIONS_NAME
    claims = {
        video_id: [{"label": one.label, "score": one.score, "segment": [one.start_s, one.end_s]} for one in predicted]
        for video_id, predicted in predictions.items()
    }
    files.write_json(path, {"version": f"actloc {actloc.__version__}", "results": claims, "external_data": {}})
    return path


def read_predictions(folder: Path) -> Predictions:
    """The predictions in `folder`, each video's in the file's order."""
    content = _read(folder / PREDICTIONS_NAME, _PredictionsFile)
    return {
        video_id: [Prediction(claim.label, claim.score, claim.segment[0], claim.segment[1]) for claim in claims]
        for video_id, claims in content.results.items()
    }


def _read(path: Path, form: type[_Form]) -> _Form:
    content = files.read_json(path)
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path}: {place}: {first['msg']}.",
            f"Expected the form that actloc eval writes; {error.error_count()} places differ.",
            f"Evaluate again: actloc eval {path.parent.parent.parent}",
        ) from error
