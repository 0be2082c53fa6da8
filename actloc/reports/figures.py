"""The other figures of a report, laid out: the training curve and how well actions of each length are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from actloc.evaluation.matching import Judged

CURVE_WIDTH = 1000
CURVE_HEIGHT = 100
_MOST_POINTS = 300
_LENGTH_EDGES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0)


@dataclass(frozen=True)
class Curve:
    """A training curve in a box of 1000 x 100, y downwards; each point is the mean of `steps_per_point` steps."""

    points: str
    first_step: int
    last_step: int
    lowest: float
    highest: float
    last: float
    steps_per_point: int


@dataclass(frozen=True)
class LengthClass:
    """The true actions of one range of lengths."""

    text: str
    num_actions: int
    num_found: int
    share: float
    """Of all true actions."""

    @property
    def found_share(self) -> float:
        """Of the actions of this length."""
        return self.num_found / self.num_actions


@dataclass(frozen=True)
class Lengths:
    """How long the true actions are."""

    shortest_s: float
    median_s: float
    longest_s: float
    classes: list[LengthClass]


def curve(losses: Sequence[tuple[int, float]]) -> Curve | None:
    """The curve of (step, loss); None without at least two steps."""
    if len(losses) < 2:
        return None
    size = -(-len(losses) // _MOST_POINTS)
    means = [_mean_point(losses[start : start + size]) for start in range(0, len(losses), size)]
    values = [loss for _, loss in means]
    lowest, highest = min(values), max(values)
    first, last = losses[0][0], losses[-1][0]
    points = " ".join(
        f"{CURVE_WIDTH * (step - first) / (last - first):.1f},{_height(loss, lowest, highest):.1f}"
        for step, loss in means
    )
    return Curve(points, first, last, lowest, highest, values[-1], size)


def _mean_point(part: Sequence[tuple[int, float]]) -> tuple[float, float]:
    return sum(step for step, _ in part) / len(part), sum(loss for _, loss in part) / len(part)


def _height(loss: float, lowest: float, highest: float) -> float:
    return CURVE_HEIGHT * (highest - loss) / (highest - lowest) if highest > lowest else CURVE_HEIGHT / 2


def lengths(judged: Sequence[Judged]) -> Lengths | None:
    """The true actions by length, with how many of each range were found; None where there is no truth."""
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
            classes.append(LengthClass(_range_text(low, high), len(found), sum(found), len(found) / len(actions)))
    return Lengths(min(all_s), median(all_s), max(all_s), classes)


def _range_text(low: float, high: float) -> str:
    return f"{low:g} s and more" if high == float("inf") else f"{low:g} to {high:g} s"
