"""The results of an evaluation, which `actloc eval` writes to `eval/<subset>/metrics.json` of the run.

`actloc report` needs only this file and `predictions.json`. A number that was not measured is None in Python, null in
the file and a dash on the page.
"""

from abc import abstractmethod
from typing import Literal, Self

from pydantic import (
    BaseModel,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    model_validator,
)

from actloc import console
from actloc.evaluation.proposals import ProposalRecall
from actloc.evaluation.uncertainty import CHECKED, Proportion, Uncertainty
from actloc.settings.choices import ErrorBins, FusionLabels, FusionUnit
from actloc.settings.published import PublishedMap

MOST_INITIAL_SHARE = 0.05
"""Averaged weights that hold more of the initial weights than this are not those of a trained network."""
FEW_VIDEOS, FEW_ACTIONS = 5, 30
"""Below these, a test set says little."""
TOO_LONG = "videos too long for the detector"
"""The heading in `Counts.names` of the videos that were not scored; their true actions count as missed."""
UNKNOWN_VIDEOS = "videos of unknown predictions"
"""The heading in `Counts.names` of the videos outside the subset that have predictions."""
UNKNOWN_LABELS = "labels of ignored predictions"
"""The heading in `Counts.names` of the labels outside the dataset's classes."""


def averages_caution(share: float, step: int) -> str:
    """What to do about averaged weights that still hold a `share` of the initial ones after `step` steps."""
    return (
        f"The averaged weights still hold {share:.0%} of the initial ones after {console.count(step, 'step')}: "
        "train with average.warm_up=true or for longer, or use the last weights with evaluation.weights=raw."
    )


class Record(BaseModel):
    """A part of a results file: frozen, strict about types, without unknown keys, nan or inf."""

    model_config = CHECKED


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
    annotated: list[list[float]] = []
    """Intervals in seconds of which every action is known, and outside of which nothing is scored; empty: all."""


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
    cut_videos: dict[str, NonNegativeInt] = {}
    """Videos of which a limit left out detections of lower scores: `{"suppression.max_kept=200": 3}`."""
    dropped: dict[str, NonNegativeInt] = {}
    """What else was left out, and how many: `{"predictions of zero length": 3}`."""
    names: dict[str, list[str]] = {}
    """The names that make up a count, under a heading: `{"videos of unknown predictions": ["v_1"]}`."""

    def cut_lines(self) -> list[str]:
        """A sentence without a full stop for each limit that left out detections, and for what else was left out."""
        of_limits = [
            f"{setting} left out detections of lower scores in {count} of {console.count(self.videos, 'video')}"
            for setting, count in self.cut_videos.items()
        ]
        return [*of_limits, *(f"{what.capitalize()}: {count} left out" for what, count in self.dropped.items())]


class ClassifierRecord(Record):
    """What gave detections their classes, and how good it is by itself."""

    file: str
    """The file of class scores; own for the detector's class scores, truth for the true classes."""
    sha256: str | None
    """Of the file; None without one."""
    form: str | None
    """Of the file; None without one."""
    facts: dict[str, str | int | float] = {}
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


class TrainedRun(Record):
    """What is known about the training of the run that was scored, and how its data differs from the data scored."""

    step: NonNegativeInt
    """The run's optimizer steps so far."""
    num_steps: NonNegativeInt | None = None
    """Those of its whole schedule; None for runs that did not record them."""
    is_finished: bool
    initial_share: Proportion = 0.0
    """The share of the initial weights that the averaged weights still hold."""
    annotations_sha256: str | None = None
    """Of the annotations that it was trained on; None if it is unknown."""
    changes: list[str] | None = None
    """How the annotations scored differ from them, counted and named; None if the run kept no copy of them."""
    renamed: dict[str, str] = {}
    """The names that the classes it was trained on have in the annotations scored, by their old ones, if another."""
    validated_on: str | None = None
    """The subset by which its best checkpoint was chosen; None without validation, and in files of older versions."""
    trained_videos: list[str] | None = None
    """The scored videos that it was trained on; None if it kept no copy of its annotations."""

    def progress(self) -> str:
        """How far an unfinished run came; empty for a finished one."""
        if self.is_finished:
            return ""
        return f"stopped at {self.step} of {self.num_steps}" if self.num_steps else f"stopped at step {self.step}"


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
    settings: dict[str, JsonValue] = {}
    """The settings that shape results and may change after training, as used, by dotted key."""
    changed: dict[str, JsonValue] = {}
    """Those that differ from the run's own."""
    annotations_sha256: str | None = None
    """Of the annotations scored; None in files of older versions."""
    trained: TrainedRun | None = None
    """None for a predictions file, an official checkpoint, and in files of older versions."""
    beside_sha256: dict[str, str] = {}
    """The sha256 of each file that the same evaluation wrote beside this one, by its name."""

    @abstractmethod
    def headline(self) -> str:
        """The number that the task is judged by, with its name."""

    def numbers(self) -> dict[str, float]:
        """What TensorBoard shows, from 0 to 1; usually none."""
        return {}

    def notes(self) -> list[str]:
        """What must be known wherever the number is shown, in a few words each."""
        if self.trained is None:
            return []
        learned = len(self.trained.trained_videos or ())
        notes = [self.trained.progress()]
        notes += [f"trained on {console.count(learned, 'video')} of these"] * bool(learned)
        return [note for note in notes if note]

    def is_measured_on_training_videos(self) -> bool:
        """Whether the run was trained on a video that it was scored on: the results are too good."""
        return self.trained is not None and bool(self.trained.trained_videos)

    def cautions(self) -> list[str]:
        """Why the numbers may mean something else than they seem to, in sentences."""
        run, cautions = self.trained, []
        if run is None:
            return []
        if run.progress():
            cautions.append(f"The run is not finished: {run.progress()}.")
        if self.weights == "averaged" and run.initial_share > MOST_INITIAL_SHARE:
            cautions.append(averages_caution(run.initial_share, run.step))
        if run.trained_videos:
            of = f"{len(run.trained_videos)} of the videos scored ({console.first_ten(run.trained_videos)})"
            cautions.append(f"The run was trained on {of}, so the results are too good.")
        is_chosen = self.settings.get("evaluation.checkpoint") == "best"
        if is_chosen and (run.validated_on or "").lower() == self.subset.lower():
            cautions.append(f"The best epoch was chosen on {self.subset}, which is scored: the results are optimistic.")
        if run.changes:
            cautions.append(f"The annotations have changed since the run was trained: {'; '.join(run.changes)}.")
        elif run.changes is None and run.annotations_sha256 not in (None, self.annotations_sha256):
            cautions.append(
                "The annotations have changed since the run was trained. It kept no copy, so what changed, and whether "
                "it was trained on videos that are scored here, is unknown."
            )
        return cautions


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
    proposals: ProposalRecall | None = None
    """None where AR@N was not measured, and in files of older versions."""
    classifier: ClassifierRecord | None = None
    """None if no classifier was used."""
    published: PublishedMap | None = None
    """What others published for these settings; None where nothing is known, and in files of older versions."""
    error_bins: ErrorBins | None = None
    """The ranges of true actions in the error analysis; None in files of older versions."""
    uncertainty: Uncertainty | None = None
    """How sure each mAP is; None in files of older versions, where `actloc report` measures it."""
    ambiguous: dict[str, list[list[float]]] = {}
    """By video, THUMOS14's Ambiguous intervals in seconds, if the protocol forgives predictions there."""

    @model_validator(mode="after")
    def _lists_belong_together(self) -> Self:
        for name in ("class_ap", "truth_per_class", "thresholds"):
            if len(getattr(self, name)) != len(self.classes):
                raise ValueError(f"{name} has length {len(getattr(self, name))}, classes has {len(self.classes)}")
        if len(self.recall) != len(self.recall_multiples):
            raise ValueError(f"recall has length {len(self.recall)}, recall_multiples has {len(self.recall_multiples)}")
        rows = [self.mean_ap, *self.class_ap, *self.recall]
        rows += [row for _, row in self.proposals.rows()] if self.proposals else []
        rows += [self.classifier.true_class_mean_ap] if self.classifier else []
        rows += [[None] * len(self.uncertainty.mean_ap)] if self.uncertainty else []
        if any(len(row) != len(self.tious) for row in rows):
            raise ValueError("mean_ap and each row of AP and recall need one entry per tIoU")
        return self

    def headline(self) -> str:
        """The average mAP, in percent, and of how many classes if some have no true action."""
        number = "-" if self.average_map is None else f"{100 * self.average_map:.2f}"
        return f"average mAP {number}{self.over_classes()}"

    def numbers(self) -> dict[str, float]:
        """The mAP of each tIoU, and the average."""
        per_tiou = {f"mAP/{tiou:.2f}": value for tiou, value in zip(self.tious, self.mean_ap, strict=True)}
        every = {**per_tiou, "average_mAP": self.average_map}
        return {name: value for name, value in every.items() if value is not None}

    def over_classes(self) -> str:
        """` over 1 of 3 classes`: the others have no true action and count for nothing; empty if all have some."""
        present = sum(number > 0 for number in self.truth_per_class)
        return "" if present == len(self.classes) else f" over {present} of {len(self.classes)} classes"

    def cautions(self) -> list[str]:
        """Also about classes without true actions, and about few videos or actions."""
        cautions, counts = super().cautions(), self.counts
        too_long = counts.names.get(TOO_LONG, [])
        if too_long:
            verb = "video is too long", "videos are too long"
            cautions.append(
                f"{console.count(len(too_long), *verb)} for the detector, and all actions there count as missed: "
                f"{console.first_ten(too_long)}."
            )
        absent = [name for name, number in zip(self.classes, self.truth_per_class, strict=True) if not number]
        if absent:
            verb = "class has", "classes have"
            cautions.append(
                f"mAP is{self.over_classes()}: {console.count(len(absent), *verb)} no action in {self.subset} "
                f"({console.first_ten(absent)})."
            )
        if counts.videos < FEW_VIDEOS or counts.truths < FEW_ACTIONS:
            few = f"{console.count(counts.videos, 'video')} with {console.count(counts.truths, 'action')}"
            cautions.append(f"The test set is small ({few}): a few actions more or less change the result by much.")
        return cautions

    def score_thresholds(self) -> dict[str, float | None]:
        """The best-F1 score threshold of each class by its name."""
        return {label: threshold.score for label, threshold in zip(self.classes, self.thresholds, strict=True)}
