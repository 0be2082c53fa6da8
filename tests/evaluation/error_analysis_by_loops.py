"""The definitions of the error analysis as plain loops over lists: slow, and written without our code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Segment = tuple[float, float]
KINDS = ["True Positive", "Double Detection Err", "Wrong Label Err", "Localization Err", "Confusion Err"]
KINDS += ["Background Err"]


@dataclass(frozen=True)
class Truth:
    video: str
    segment: Segment
    label: str


@dataclass(frozen=True)
class Claim(Truth):
    score: float = 0.0


@dataclass
class Analysis:
    truths: Sequence[Truth]
    claims: Sequence[Claim]
    tious: Sequence[float]

    def __post_init__(self) -> None:
        self.classes = list(dict.fromkeys(one.label for one in self.truths))
        self.mean = len(self.truths) / len(self.classes)
        self.numbers = {label: sum(one.label == label for one in self.truths) for label in self.classes}
        self.ranked = {
            label: sorted(
                (place for place, one in enumerate(self.claims) if one.label == label),
                key=lambda place: (-self.claims[place].score, place),
            )
            for label in self.classes
        }
        self.kept = {label: rows[: 10 * self.numbers[label]] for label, rows in self.ranked.items()}
        self.matches = [self._matches(tiou) for tiou in self.tious]  # the true action that a claim matches

    def _matches(self, tiou: float) -> dict[int, int]:
        matches: dict[int, int] = {}
        for label in self.classes:
            for row in self.ranked[label]:
                found = [(overlap(self.claims[row], one), place) for place, one in enumerate(self.truths)]
                for most, place in sorted(found, reverse=True):
                    if self.truths[place].label == label and place not in matches.values() and most >= tiou:
                        matches[row] = place
                        break
        return matches

    def kind(self, row: int, number: int) -> str:
        claim = self.claims[row]
        if row in self.matches[number]:
            return KINDS[0]
        near = [(overlap(claim, one), -place) for place, one in enumerate(self.truths) if one.video == claim.video]
        most, place = max(near, default=(0.0, 0))
        if most < 0.1:
            return KINDS[5]
        is_own = self.truths[-place].label == claim.label
        if most >= self.tious[number]:
            return KINDS[1] if is_own else KINDS[2]
        return KINDS[3] if is_own else KINDS[4]

    def curve(self, hits: Sequence[bool], number: int) -> tuple[Any, Any]:
        recall = np.cumsum(hits) / number
        wrong = np.cumsum(~np.array(hits, dtype=bool))
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(recall * self.mean / (recall * self.mean + wrong)), recall

    def ap(self, hits: Sequence[bool], number: int) -> float:
        precision, recall = self.curve(hits, number) if hits else (np.zeros(0), np.zeros(0))
        heights = [max([*precision[place:], 0.0]) for place in range(len(hits))]
        return float(np.dot(np.diff(recall, prepend=0.0), heights))

    def false_positives(self) -> dict[str, Any]:
        numbers = range(len(self.tious))

        def aps(without: str) -> list[list[float]]:
            return [[self._ap_without(without, label, number) for label in self.classes] for number in numbers]

        def group(first: int, label: str) -> list[int]:
            size = self.numbers[label]
            return self.kept[label][first * size : (first + 1) * size]

        groups = [[row for label in self.classes for row in group(first, label)] for first in range(10)]
        return {
            "kept_predictions": sum(map(len, self.kept.values())),
            "ap_without": {kind: aps(kind) for kind in KINDS[1:]},
            "map_gain": {kind: float(np.mean(aps(kind)) - np.mean(aps(""))) for kind in KINDS[1:]},
            "per_group_of_G": [
                {kind: [sum(self.kind(row, number) == kind for row in rows) for number in numbers] for kind in KINDS}
                for rows in groups
            ],
        }

    def _ap_without(self, kind: str, label: str, number: int) -> float:
        rows = [row for row in self.kept[label] if self.kind(row, number) != kind]
        return self.ap([row in self.matches[number] for row in rows], self.numbers[label])

    def missed(self, members: set[int]) -> list[float]:
        """At each tIoU the share of these true actions that is missed."""
        shares = []
        for found in self.matches:
            seen = set()
            for label in self.classes:
                rows = self.ranked[label]
                precision, _ = self.curve([row in found for row in rows], self.numbers[label])
                seen |= {
                    found[row] for row, value in zip(rows, precision, strict=True) if row in found and value > 0.05
                }
            shares.append(len(members - seen) / len(members))
        return shares

    def normalised_map(self, members: set[int]) -> float:
        """mAP_N over these true actions."""
        outside = {row for found in self.matches for row, place in found.items() if place not in members}
        values = []
        for found in self.matches:
            for label in self.classes:
                number = sum(self.truths[place].label == label for place in members)
                rows = [row for row in self.ranked[label] if row not in outside]
                if number:
                    values.append(self.ap([row in found for row in rows], number))
        return float(np.mean(values))


def overlap(one: Truth, other: Truth) -> float:
    """Their tIoU; 0 in other videos and without any length."""
    (start, end), (other_start, other_end) = one.segment, other.segment
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    union = (end - start) + (other_end - other_start) - shared
    return shared / union if one.video == other.video and union > 0 else 0.0
