"""Which predictions of a video are right, for the pictures of a report (the numbers come from `actloc eval`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from actloc.evaluation.columns import Floats, GroundTruth, Integers
from actloc.evaluation.columns import Predictions as PredictionColumns
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.protocols import Protocol
from actloc.evaluation.results import Prediction, Predictions, Results, TrueAction, Video

MATCH_TIOU = 0.5
_PROTOCOL = Protocol(ties="first_row")

Verdict = Literal["right", "wrong", "below", "unjudged"]
Thresholds = Mapping[str, float | None]
"""Best-F1 score by class; None, or no entry, where there is none: then no prediction of the class counts."""


@dataclass(frozen=True)
class Judgement:
    """What became of each true action and of each prediction of a video, in their order."""

    found: list[bool]
    verdicts: list[Verdict]

    @property
    def num_found(self) -> int:
        """True actions that a counted prediction meets."""
        return sum(self.found)

    @property
    def num_missed(self) -> int:
        """True actions that no counted prediction meets."""
        return len(self.found) - self.num_found

    @property
    def num_wrong(self) -> int:
        """Counted predictions that meet no true action of their own."""
        return self.verdicts.count("wrong")

    @property
    def f1(self) -> float | None:
        """F1 of the counted predictions; None where there is nothing to find and nothing claimed."""
        total = 2 * self.num_found + self.num_missed + self.num_wrong
        return 2 * self.num_found / total if total else None


@dataclass(frozen=True)
class Judged:
    """A video, what was predicted and what of it is right."""

    video: Video
    predictions: list[Prediction]
    judgement: Judgement


def is_counted(prediction: Prediction, thresholds: Thresholds) -> bool:
    """Whether the score reaches the class's best-F1 threshold."""
    threshold = thresholds.get(prediction.label)
    return threshold is not None and prediction.score >= threshold


def judge(truth: list[TrueAction], predictions: list[Prediction], thresholds: Thresholds) -> Judgement:
    """Gives each counted prediction, best score first, the free true action of its class that it overlaps most.

    Below tIoU 0.5 it gets none and is wrong. Predictions under the class's threshold do not count.
    """
    found = [False] * len(truth)
    counted = [place for place, one in enumerate(predictions) if is_counted(one, thresholds)]
    verdicts: list[Verdict] = ["below"] * len(predictions)
    for place in counted:
        verdicts[place] = "wrong"
    if truth and counted:
        number = {label: index for index, label in enumerate(dict.fromkeys(action.label for action in truth))}
        claims = [predictions[place] for place in counted]
        columns = GroundTruth(*_columns(truth, number))
        claimed = PredictionColumns(*_columns(claims, number), np.array([one.score for one in claims]))
        pairing = Pairing(columns, claimed, MATCH_TIOU, _PROTOCOL)
        for place, row in zip(*pairing.matches(MATCH_TIOU), strict=True):
            verdicts[counted[pairing.rows[place]]] = "right"
            found[row] = True
    return Judgement(found, verdicts)


def _columns(
    listed: Sequence[TrueAction | Prediction], number: dict[str, int]
) -> tuple[Integers, Floats, Floats, Integers]:
    """Videos, starts, ends and class numbers; -1 for a class that no true action of the video has."""
    starts, ends = (np.array([getattr(one, name) for one in listed], np.float64) for name in ("start_s", "end_s"))
    labels = np.array([number.get(one.label, -1) for one in listed], np.int64)
    return np.zeros(len(listed), np.int64), starts, ends, labels


def worst_first(results: Results, predictions: Predictions) -> list[Judged]:
    """Every video of the results judged: lowest F1 first, then most mistakes, last those with nothing to judge."""
    thresholds = results.score_thresholds()
    judged = []
    for video in results.videos:
        claimed = predictions.get(video.id, [])
        judged.append(Judged(video, claimed, judge(video.truth, claimed, thresholds)))
    return sorted(judged, key=lambda item: _badness(item.judgement))


def _badness(judgement: Judgement) -> tuple[float, int]:
    f1 = 2.0 if judgement.f1 is None else judgement.f1
    return f1, -(judgement.num_missed + judgement.num_wrong)
