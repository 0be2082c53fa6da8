"""The windows that are suggested, each with its reasons in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actloc.annotations.annotated_time import Span
from actloc.evaluation.predictions import Prediction
from actloc.localization.suggesting import choosing
from actloc.localization.suggesting.choosing import Choice
from actloc.localization.suggesting.doubt import Doubt, doubt, expected

if TYPE_CHECKING:
    from actloc.localization.suggesting.looking import Learned, Looked

_HIGH = 0.5
"""A rank, a coverage or a balance from which it is a reason."""
_LEAST = 0.03
"""What is lower is no reason, however it ranks."""
_LEAST_EXPECTED = 0.05
"""Fewer expected actions are not mentioned: they would read as 0.0."""


@dataclass(frozen=True)
class Suggestion:
    """A window to annotate."""

    video_id: str
    window: Span
    choice: Choice
    doubt: Doubt
    few: str
    """Of what class few actions are labelled, and are expected in it; empty where no action is."""
    found: tuple[Prediction, ...]
    """The detections in it that reach the threshold of their class, in order of time; they may begin or end outside."""

    @property
    def reason(self) -> str:
        """Why it is suggested."""
        return reason(self.choice, self.doubt, self.few)


def suggested(looked: "Looked", learned: "Learned", budget_s: float) -> list[Suggestion]:
    """The windows to annotate within `budget_s` seconds, the most valuable first."""
    if not looked.windows:
        return []
    doubts = [
        doubt(looked.found[key], looked.others[key], looked.thresholds, window, looked.weights)
        for key, window in looked.windows
    ]
    labels = list(looked.thresholds)
    numbers = [expected(looked.found[key], looked.thresholds, window) for key, window in looked.windows]
    features = np.stack(looked.features)
    own = choosing.Unlabelled(
        features,
        np.array([end - start for _, (start, end) in looked.windows]),
        [video_id for video_id, _ in looked.windows],
        np.array([[number[label] for label in labels] for number in numbers]),
        np.array([one.uncertainty for one in doubts]),
        np.array([one.disagreement for one in doubts]),
    )
    known = choosing.Annotated(
        np.stack(learned.features) if learned.features else features[:0],
        learned.videos,
        np.array([learned.actions[label] for label in labels], dtype=np.float64),
    )
    found = []
    for choice in choosing.chosen(own, known, budget_s):
        label = None if choice.scarcest is None else labels[choice.scarcest]
        few = "" if label is None else _few(label, learned.actions[label], numbers[choice.index][label], choice)
        found.append(_suggestion(looked, choice, doubts[choice.index], few))
    return found


def _suggestion(looked: "Looked", choice: Choice, own: Doubt, few: str) -> Suggestion:
    video_id, (start, end) = looked.windows[choice.index]
    counted = [one for one in looked.found[video_id] if one.score >= looked.thresholds[one.label]]
    inside = [one for one in counted if one.start_s < end and one.end_s > start]
    return Suggestion(video_id, (start, end), choice, own, few, tuple(sorted(inside, key=lambda one: one.start_s)))


def _few(label: str, labelled: int, here: float, choice: Choice) -> str:
    if here < _LEAST_EXPECTED:
        return ""
    earlier = f", {choice.expected_before:.1f} in earlier windows" if choice.expected_before >= _LEAST_EXPECTED else ""
    return f"{label}, {labelled} labelled ({here:.1f} expected here{earlier})"


def reason(choice: Choice, own: Doubt, few: str) -> str:
    """What speaks for a window, the strongest first: all that is high among the windows, or else the highest."""
    named = []
    if own.unsure_of and own.uncertainty >= _LEAST:
        named.append((choice.uncertainty_rank, f"unsure: {own.unsure_of}"))
    if own.differs_in and own.disagreement >= _LEAST:
        named.append((choice.disagreement_rank, f"weights disagree: {own.differs_in}"))
    near = f"{choice.nearest_s / 60:.1f} unlabelled minutes are nearer to it than to annotated and earlier windows"
    named.append((choice.coverage, f"typical: {near}"))
    if few:
        named.append((choice.balance, f"few labels: {few}"))
    named.sort(key=lambda one: -one[0])
    high = [sentence for value, sentence in named if value >= _HIGH]
    return "; ".join(high) or f"no reason is strong; the strongest: {named[0][1]}"
