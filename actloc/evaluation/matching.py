"""Which predictions of a video are right, for the pictures of a report (the numbers come from `actloc eval`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from actloc.evaluation.results import Prediction, Predictions, Results, TrueAction, Video

MATCH_TIOU = 0.5

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


def tiou(first: TrueAction | Prediction, second: TrueAction | Prediction) -> float:
    """Temporal intersection over union; 0 where both are empty."""
    shared = min(first.end_s, second.end_s) - max(first.start_s, second.start_s)
    union = (first.end_s - first.start_s) + (second.end_s - second.start_s) - shared
    return shared / union if shared > 0 and union > 0 else 0.0


def is_counted(prediction: Prediction, thresholds: Thresholds) -> bool:
    """Whether the score reaches the class's best-F1 threshold."""
    threshold = thresholds.get(prediction.label)
    return threshold is not None and prediction.score >= threshold


def judge(truth: list[TrueAction], predictions: list[Prediction], thresholds: Thresholds) -> Judgement:
    """Gives each counted prediction, best score first, the free true action of its class that it overlaps most.

    Below tIoU 0.5 it gets none and is wrong. Predictions under the class's threshold do not count.
    """
    found = [False] * len(truth)
    verdicts: list[Verdict] = ["below"] * len(predictions)
    for i in sorted(range(len(predictions)), key=lambda i: -predictions[i].score):
        if is_counted(predictions[i], thresholds):
            match = _best_free(predictions[i], truth, found)
            verdicts[i] = "wrong" if match is None else "right"
            if match is not None:
                found[match] = True
    return Judgement(found, verdicts)


def _best_free(prediction: Prediction, truth: list[TrueAction], found: list[bool]) -> int | None:
    overlaps = [
        (tiou(prediction, action), -i)
        for i, action in enumerate(truth)
        if action.label == prediction.label and not found[i]
    ]
    overlap, negative_place = max(overlaps, default=(0.0, 0))
    return -negative_place if overlap >= MATCH_TIOU else None


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
