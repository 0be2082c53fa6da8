"""What a finished training reports: time, steps, losses, validation, and what to do if the loss is high.

Advice follows from the shape of the loss curve alone: losses of different detectors and datasets have different sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

from actloc import console

_PARTS = 10
_UNSETTLED = 50
"""Steps at the start whose losses are not compared: rates warm up, and ActionFormer's running normaliser is still far
from the number that it follows (0.9^50 = 0.5 %), so that the loss of a network that learns nothing rises."""
_HIGH = 0.5
"""Of 40 recorded trainings of 118 to 1,485 steps, none ended above 0.22 of its highest loss; one that learned nothing
ended at 0.96."""
_LOW = 0.1
"""Below this share of its highest, a loss that still falls hardly changes results."""
_STILL_FALLING = 0.25
"""Share of its value that a loss loses over the last three tenths of the steps."""
_ROSE, _ROSE_OF_FALL = 0.2, 0.1
"""Shares of the lowest loss, and of the whole fall, by which a loss must rise again to be worth a word."""
_FEW_PER_CLASS = 10
_TOTAL = "train/loss/total"


@dataclass(frozen=True)
class History:
    """The rows of `log.jsonl`, by what a person asks of them."""

    losses: list[float]
    """Total loss of each step, in order."""
    epochs: float | None
    """How many epochs they are; None in files of older versions."""
    last_parts: dict[str, float]
    """Each part of the loss, over the last tenth of the steps."""
    validation: list[tuple[int, dict[str, float]]]
    """Step and numbers of each validation, in order."""
    seconds: float | None
    """Time of all sessions together; None if a line of an older version has no time."""

    @property
    def means(self) -> list[float]:
        """Mean loss of each tenth of the steps that can be compared; empty without steps."""
        return _means(self.losses[_UNSETTLED:] or self.losses)

    @property
    def highest(self) -> float:
        """The highest mean loss of a tenth of the steps, in the first half of them."""
        half = _PARTS // 2
        return max(*_means(self.losses)[:half], *self.means[:half])


def history(rows: Sequence[Mapping[str, Any]]) -> History:  # Any: JSON values
    """Reads what is there; a step that was logged twice counts as it was the last time."""
    steps = {row["step"]: row for row in rows if row.get("event") == "step" and _is_number(row.get(_TOTAL))}
    taken = [steps[step] for step in sorted(steps)]
    names = [name for name in (taken[-1] if taken else {}) if name.startswith("train/loss/") and name != _TOTAL]
    last = _part(taken[_UNSETTLED:] or taken, _PARTS - 1)
    parts = {
        name.removeprefix("train/loss/"): fmean(row[name] for row in last)
        for name in names
        if all(_is_number(row.get(name)) for row in last)
    }
    validated = {row["step"]: row for row in rows if row.get("event") == "validation"}
    validation = [
        (step, {name: value for name, value in row.items() if name.startswith("validation/") and _is_number(value)})
        for step, row in sorted(validated.items())
    ]
    validation = [(step, values) for step, values in validation if values]
    epochs = taken[-1].get("epoch") if taken else None
    losses = [row[_TOTAL] for row in taken]
    return History(losses, epochs if _is_number(epochs) else None, parts, validation, _seconds(rows))


def _means(losses: Sequence[float]) -> list[float]:
    return [fmean(_part(losses, number)) for number in range(_PARTS)] if losses else []


def _part(items: Sequence[Any], number: int) -> Sequence[Any]:  # Any: whatever is divided
    """The tenth `number` of the items, at least one of them; none of none."""
    start = min(number * len(items) // _PARTS, len(items) - 1)
    return items[start : max((number + 1) * len(items) // _PARTS, start + 1)] if items else items


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(rows: Sequence[Mapping[str, Any]]) -> float | None:  # Any: JSON values
    """The sum of the times between lines, without those between two sessions."""
    total, before = 0.0, None
    try:
        for row in rows:
            now = datetime.fromisoformat(row["time"])
            if before is not None and row["event"] not in ("start", "resume"):
                total += (now - before).total_seconds()
            before = now
    except (KeyError, TypeError, ValueError):
        return None
    return total if rows else None


def lines(found: History) -> list[str]:
    """What was done: steps, time, losses, validation."""
    if not found.losses:
        return []
    epochs = "" if found.epochs is None else f" ({console.count(round(found.epochs), 'epoch')})"
    time = "" if found.seconds is None else f" in {console.duration(found.seconds)}"
    parts = ", ".join(f"{name} {value:.3g}" for name, value in found.last_parts.items())
    shown = f" ({parts})" if len(found.last_parts) > 1 else ""
    told = [
        f"{console.count(len(found.losses), 'step')}{epochs}{time}; loss {found.highest:.3g} at its highest and "
        f"{found.means[-1]:.3g} at the end{shown}, each the mean of a tenth of the steps"
    ]
    if found.validation:
        name = next(iter(found.validation[-1][1]))
        scores = [(step, values[name]) for step, values in found.validation if name in values]
        best_step, best = max(scores, key=lambda one: one[1])
        told.append(
            f"Validation {name.removeprefix('validation/')} in percent: {100 * scores[-1][1]:.2f} at the end, "
            f"{100 * best:.2f} at its best (after {console.count(best_step, 'step')})"
        )
    return told


def advice(found: History, *, longer: str, learning_rate: float, size: Mapping[str, int]) -> list[str]:
    """What to do if the loss, or the result, is not good enough; a sentence for each sign of it.

    `longer` is the setting that trains for twice as long. `size` has the numbers of `actions` or `clips` and of
    `classes` that were trained on, if they are known.
    """
    number, means = len(found.losses), found.means
    if not number:
        return []
    longer = f"train longer: {longer} run.name=ANOTHER"
    if number < 2 * _UNSETTLED:
        return [f"The loss of {console.count(number, 'step')} says little. If `eval` gives low scores, {longer}."]
    highest, lowest, last = found.highest, min(means), means[-1]
    if last - lowest > max(_ROSE * lowest, _ROSE_OF_FALL * (highest - lowest)):
        return [
            f"The loss rose again, from {lowest:.3g} to {last:.3g}. Lower the learning rate: "
            f"optimizer.learning_rate={learning_rate / 3:.1g} run.name=ANOTHER."
        ]
    share = last / highest if highest > 0 else 0.0
    fall = 1 - last / means[-3] if means[-3] > 0 else 0.0
    few = _few_examples(size)
    if share > _LOW and fall > _STILL_FALLING:
        fell = f"The loss still fell at the end, by {fall:.0%} over the last third of the steps"
        return [f"{fell}. If `eval` gives low scores, {longer}.", *few]
    if share > _HIGH:
        rates = f"optimizer.learning_rate={learning_rate * 3:.1g} or {learning_rate / 3:.1g}"
        return [
            f"The loss is high: it ended at {share:.0%} of its highest value and hardly falls any more. If `eval` "
            f"gives low scores too, try another learning rate ({rates}), and check that labels and features fit "
            "the videos.",
            *few,
        ]
    return [
        f"The loss fell to {share:.1%} of its highest value; `eval` measures what that is worth on other videos.",
        *few,
    ]


def _few_examples(size: Mapping[str, int]) -> list[str]:
    """For fewer actions or clips than ten of each class on average."""
    classes = size.get("classes", 0)
    told = []
    for noun in ("action", "clip"):
        number = size.get(f"{noun}s")
        if number is not None and number < _FEW_PER_CLASS * classes:
            counted = f"{console.count(number, noun)} of {console.count(classes, 'class', 'classes')}"
            told.append(f"{counted} are few to learn from: more labelled videos help more than more epochs.")
    return told
