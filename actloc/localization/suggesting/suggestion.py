"""The windows that are suggested, each with its reasons in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actloc.annotations.annotated_time import Span
from actloc.evaluation.predictions import Prediction
from actloc.localization.suggesting import choosing
from actloc.localization.suggesting.choosing import Choice, Floats
from actloc.localization.suggesting.doubt import Doubt, doubt

if TYPE_CHECKING:
    from actloc.localization.suggesting.looking import Looked

_HIGH = 0.5
"""A rank or a coverage from which it is a reason."""
_LEAST = 0.03
"""What is lower is no reason, however it ranks."""


@dataclass(frozen=True)
class Suggestion:
    """A window to annotate."""

    video_id: str
    window: Span
    choice: Choice
    doubt: Doubt
    found: tuple[Prediction, ...]
    """The detections in it that reach the threshold of their class, in order of time; they may begin or end outside."""

    @property
    def reason(self) -> str:
        """Why it is suggested."""
        return reason(self.choice, self.doubt)


def suggested(looked: "Looked", annotated: Sequence[Floats], budget_s: float) -> list[Suggestion]:
    """The windows to annotate within `budget_s` seconds, the most valuable first.

    `annotated` has the mean features (C,) of windows of the annotated footage.
    """
    if not looked.windows:
        return []
    doubts = [
        doubt(looked.found[key], looked.others[key], looked.thresholds, window, looked.weights)
        for key, window in looked.windows
    ]
    features = np.stack(looked.features)
    choices = choosing.chosen(
        features,
        np.array([end - start for _, (start, end) in looked.windows]),
        np.array([one.uncertainty for one in doubts]),
        np.array([one.disagreement for one in doubts]),
        np.stack(annotated) if annotated else features[:0],
        budget_s,
        [video_id for video_id, _ in looked.windows],
    )
    return [_suggestion(looked, choice, doubts[choice.index]) for choice in choices]


def _suggestion(looked: "Looked", choice: Choice, own: Doubt) -> Suggestion:
    video_id, (start, end) = looked.windows[choice.index]
    counted = [one for one in looked.found[video_id] if one.score >= looked.thresholds[one.label]]
    inside = [one for one in counted if one.start_s < end and one.end_s > start]
    return Suggestion(video_id, (start, end), choice, own, tuple(sorted(inside, key=lambda one: one.start_s)))


def reason(choice: Choice, own: Doubt) -> str:
    """What speaks for a window, the strongest first: all that is high among the windows, or else the highest."""
    named = []
    if own.unsure_of and own.uncertainty >= _LEAST:
        named.append((choice.uncertainty_rank, f"unsure: {own.unsure_of}"))
    if own.differs_in and own.disagreement >= _LEAST:
        named.append((choice.disagreement_rank, f"weights disagree: {own.differs_in}"))
    near = f"{choice.nearest_s / 60:.1f} unlabelled minutes are nearer to it than to annotated and earlier windows"
    named.append((choice.coverage, f"typical: {near}"))
    named.sort(key=lambda one: -one[0])
    high = [sentence for value, sentence in named if value >= _HIGH]
    return "; ".join(high) or f"no reason is strong; the strongest: {named[0][1]}"
