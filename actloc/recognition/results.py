"""What an evaluation of a recogniser measures: the recognition block of `metrics.json`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import NonNegativeInt, model_validator

from actloc import console
from actloc.evaluation.columns import Floats
from actloc.evaluation.results import FEW_ACTIONS, Record, ResultsHead
from actloc.evaluation.uncertainty import Proportion
from actloc.recognition.scores import (
    Averages,
    Booleans,
    class_accuracies,
    confusion,
    hits,
    mean_class_accuracy,
)
from actloc.recognition.uncertainty import AccuracyUncertainty, accuracy_uncertainty
from actloc.settings.published import PublishedAccuracy

_SHOWN_CLASSES = 5  # the k of top-5

SUMMARIES = ["classes.csv", "class_scores.json", "failed.jsonl"]
"""The names of the files that `predict` makes of all results."""


class RecognitionCounts(Record):
    """How many clips were scored, and what could not be, so that nothing goes missing silently."""

    clips: NonNegativeInt
    """Labelled stretches that have scores."""
    unreadable: dict[str, str]
    """Why a video could not be read, by its id; its clips are in no accuracy."""
    clips_left_out: NonNegativeInt
    """Labelled stretches of unreadable videos."""


class ClassAccuracy(Record):
    """One class."""

    clips: NonNegativeInt
    top_1: Proportion | None
    """None without clips."""
    top_5: Proportion | None


class Confused(Record):
    """How many clips of a class have another one, or the same, as their best."""

    true: NonNegativeInt
    """Number of the class in `classes`."""
    predicted: NonNegativeInt
    clips: NonNegativeInt


class RecognitionResults(ResultsHead):
    """Accuracies of a recogniser on one subset."""

    task: Literal["recognition"] = "recognition"

    top_1: Proportion | None
    """Share of clips whose best class is true; None without clips."""
    top_5: Proportion | None
    """Share of clips of which one of the five best classes is true; with five classes or fewer it is 1."""
    mean_class_accuracy: Proportion | None
    """Mean top-1 accuracy of the classes that have clips."""
    classes: list[str]
    per_class: list[ClassAccuracy]
    confusion: list[Confused]
    """The pairs that occur, by true class and then by predicted class."""
    views: str
    """The views of a clip whose scores are averaged, such as `4 clips x 3 crops`."""
    average: Averages
    counts: RecognitionCounts
    published: PublishedAccuracy | None = None
    """What others published for these settings; None where nothing is known, and in files of older versions."""
    uncertainty: AccuracyUncertainty | None = None
    """How sure the accuracies are; None in files of older versions."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if len(self.per_class) != len(self.classes):
            raise ValueError(f"per_class has length {len(self.per_class)}, classes has {len(self.classes)}")
        if any(max(one.true, one.predicted) >= len(self.classes) for one in self.confusion):
            raise ValueError(f"confusion names a class that is not one of the {len(self.classes)}")
        return self

    def cautions(self) -> list[str]:
        """Also about classes without clips, and about few clips."""
        cautions = super().cautions()
        absent = [name for name, one in zip(self.classes, self.per_class, strict=True) if not one.clips]
        if absent:
            present = f"{len(self.classes) - len(absent)} of {len(self.classes)} classes"
            cautions.append(f"Accuracies are over {present}; without a clip: {console.first_ten(absent)}.")
        if self.counts.clips < FEW_ACTIONS:
            few = console.count(self.counts.clips, "clip")
            cautions.append(f"The test set is small ({few}): a few clips more or less change the result by much.")
        return cautions

    def headline(self) -> str:
        """Top-1 and top-5, in percent."""
        first, five = ("-" if value is None else f"{100 * value:.2f}" for value in (self.top_1, self.top_5))
        return f"top-1 {first}, top-5 {five}"

    def numbers(self) -> dict[str, float]:
        """The accuracies."""
        numbers = {"top_1": self.top_1, "top_5": self.top_5, "mean_class_accuracy": self.mean_class_accuracy}
        return {name: value for name, value in numbers.items() if value is not None}

    def confusion_table(self) -> list[list[int]]:
        """Counts of clips by their true class (rows) and their best one (columns)."""
        table = [[0] * len(self.classes) for _ in self.classes]
        for one in self.confusion:
            table[one.true][one.predicted] = one.clips
        return table


def measured(
    scores: Floats,
    truth: Booleans,
    classes: Sequence[str],
    head: Mapping[str, Any],  # Any: fields of a results head
    *,
    views: str,
    average: Averages,
    unreadable: Mapping[str, str],
    clips_left_out: int,
    published: PublishedAccuracy | None = None,
    videos: Sequence[str] | None = None,
) -> RecognitionResults:
    """The results of class scores (N, K), which are those of the views averaged, for the true classes (N, K).

    `head` has the fields of `ResultsHead`; `videos` (N) are those of the clips, without which there are no intervals.
    """
    first, five = (hits(scores, truth, k) for k in (1, _SHOWN_CLASSES))
    counts = truth.sum(axis=0).tolist()
    of_classes = zip(counts, class_accuracies(first, truth), class_accuracies(five, truth), strict=True)
    table = confusion(scores, truth)
    return RecognitionResults(
        **head,
        top_1=float(first.mean()) if len(scores) else None,
        top_5=float(five.mean()) if len(scores) else None,
        mean_class_accuracy=mean_class_accuracy(scores, truth),
        classes=list(classes),
        per_class=[ClassAccuracy(clips=count, top_1=top_1, top_5=top_5) for count, top_1, top_5 in of_classes],
        confusion=[
            Confused(true=true, predicted=predicted, clips=int(table[true, predicted]))
            for true, predicted in np.argwhere(table).tolist()
        ],
        views=views,
        average=average,
        counts=RecognitionCounts(clips=len(scores), unreadable=dict(unreadable), clips_left_out=clips_left_out),
        published=published,
        uncertainty=None if videos is None else accuracy_uncertainty(first, five, truth, videos),
    )
