"""Decides which predictions of a video are right, for a report's timelines; its numbers come from `actloc eval`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from actloc.evaluation.columns import Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import Protocol
from actloc.evaluation.results import Results, TrueAction, Video

MATCH_TIOU = 0.5
JUDGING = Protocol(ties="first_row")
"""How a report says which predictions are right: best score first, whatever the protocol of its mAP."""

Verdict = Literal["right", "wrong", "below", "unjudged"]
Thresholds = Mapping[str, float | None]
"""Score threshold of best F1 by class; if it is None or missing, no prediction of the class counts."""


@dataclass(frozen=True)
class Judgement:
    """The outcome for each true action and each prediction of a video, in their order."""

    found: list[bool]
    verdicts: list[Verdict]

    @property
    def num_found(self) -> int:
        """True actions matched by a counted prediction."""
        return sum(self.found)

    @property
    def num_missed(self) -> int:
        """True actions that no counted prediction matches."""
        return len(self.found) - self.num_found

    @property
    def num_wrong(self) -> int:
        """Counted predictions without a true action matched to them."""
        return self.verdicts.count("wrong")

    @property
    def f1(self) -> float | None:
        """F1 of the counted predictions; None if there are neither true actions nor counted predictions."""
        total = 2 * self.num_found + self.num_missed + self.num_wrong
        return 2 * self.num_found / total if total else None

    @property
    def sort_key(self) -> tuple[float, int]:
        """Sorts judgements worst first: lowest F1, then most mistakes; those without an F1 come last."""
        return 2.0 if self.f1 is None else self.f1, -(self.num_missed + self.num_wrong)


@dataclass(frozen=True)
class Judged:
    """A video, its predictions, and which of them are right."""

    video: Video
    predictions: list[Prediction]
    judgement: Judgement


def is_counted(prediction: Prediction, thresholds: Thresholds) -> bool:
    """Whether the score reaches the class's best-F1 threshold."""
    threshold = thresholds.get(prediction.label)
    return threshold is not None and prediction.score >= threshold


def judge(truth: list[TrueAction], predictions: list[Prediction], thresholds: Thresholds) -> Judgement:
    """Matches each counted prediction, best score first, to the unmatched true action of its class it overlaps most.

    A prediction without a match at tIoU 0.5 is wrong. Predictions below their class's threshold do not count.
    """
    found = [False] * len(truth)
    counted = [place for place, one in enumerate(predictions) if is_counted(one, thresholds)]
    verdicts: list[Verdict] = ["below"] * len(predictions)
    for place in counted:
        verdicts[place] = "wrong"
    if truth and counted:
        number = {label: index for index, label in enumerate(dict.fromkeys(action.label for action in truth))}
        claims = [predictions[place] for place in counted]
        columns = TruthColumns(*_columns(truth, number))
        claimed = PredictionColumns(*_columns(claims, number), np.array([one.score for one in claims]))
        pairing = Pairing(columns, claimed, MATCH_TIOU, JUDGING)
        for place, row in zip(*pairing.matches(MATCH_TIOU), strict=True):
            verdicts[counted[pairing.rows[place]]] = "right"
            found[row] = True
    return Judgement(found, verdicts)


def _columns(
    listed: Sequence[TrueAction | Prediction], number: dict[str, int]
) -> tuple[Integers, Floats, Floats, Integers]:
    """Videos, starts, ends and class numbers; -1 for a class without a true action in the video."""
    starts, ends = (np.array([getattr(one, name) for one in listed], np.float64) for name in ("start_s", "end_s"))
    labels = np.array([number.get(one.label, -1) for one in listed], np.int64)
    return np.zeros(len(listed), np.int64), starts, ends, labels


def worst_first(results: Results, predictions: Predictions) -> list[Judged]:
    """Judges every video of the results: lowest F1 first, then most mistakes; videos without an F1 come last."""
    thresholds = results.score_thresholds()
    judged = []
    for video in results.videos:
        claimed = predictions.get(video.id, [])
        judged.append(Judged(video, claimed, judge(video.truth, claimed, thresholds)))
    return sorted(judged, key=lambda item: item.judgement.sort_key)
