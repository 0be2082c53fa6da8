"""Lays out the other figures of a report: the training curve, and how many actions of each length are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from actloc.evaluation.matching import Judged

CURVE_WIDTH = 1000
CURVE_HEIGHT = 100
_MOST_POINTS = 300
_LENGTH_EDGES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0)


@dataclass(frozen=True)
class Curve:
    """A training curve in a box of 1000 x 100, y pointing down; each point is the mean of `steps_per_point` steps."""

    points: str
    first_step: int
    last_step: int
    lowest: float
    highest: float
    last: float
    steps_per_point: int


@dataclass(frozen=True)
class LengthClass:
    """The true actions whose length is in one range."""

    text: str
    num_actions: int
    num_found: int
    share: float
    """Share of all true actions."""

    @property
    def found_share(self) -> float:
        """Share of the actions of this length that are found."""
        return self.num_found / self.num_actions


@dataclass(frozen=True)
class Lengths:
    """The lengths of the true actions."""

    shortest_s: float
    median_s: float
    longest_s: float
    classes: list[LengthClass]


def curve(losses: Sequence[tuple[int, float]]) -> Curve | None:
    """The curve of (step, loss); None if there are fewer than two steps."""
    if len(losses) < 2:
        return None
    size = -(-len(losses) // _MOST_POINTS)
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    means = [(fmean(step for step, _ in part), fmean(loss for _, loss in part)) for part in parts]
    values = [loss for _, loss in means]
    lowest, highest = min(values), max(values)
    first, last = losses[0][0], losses[-1][0]
    points = []
    for step, loss in means:
        x = CURVE_WIDTH * (step - first) / (last - first)
        y = CURVE_HEIGHT * (highest - loss) / (highest - lowest) if highest > lowest else CURVE_HEIGHT / 2
        points.append(f"{x:.1f},{y:.1f}")
    return Curve(" ".join(points), first, last, lowest, highest, values[-1], size)


def lengths(judged: Sequence[Judged]) -> Lengths | None:
    """The true actions by length, and how many of each range are found; None if there are no true actions."""
    actions = [
        (action.end_s - action.start_s, found)
        for item in judged
        for action, found in zip(item.video.truth, item.judgement.found, strict=True)
    ]
    if not actions:
        return None
    all_s = [length_s for length_s, _ in actions]
    upper_edges = [*_LENGTH_EDGES_S[1:], float("inf")]
    classes = []
    for low, high in zip(_LENGTH_EDGES_S, upper_edges, strict=True):
        found = [was_found for length_s, was_found in actions if low <= length_s < high]
        if found:
            text = f"{low:g} s and more" if high == float("inf") else f"{low:g} to {high:g} s"
            classes.append(LengthClass(text, len(found), sum(found), len(found) / len(actions)))
    return Lengths(min(all_s), median(all_s), max(all_s), classes)
