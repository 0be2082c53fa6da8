"""Lays out the section "Where it fails": what false positives are, what each kind costs, and what is missed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf, isnan

import numpy as np

from actloc.evaluation.columns import Floats
from actloc.evaluation.error_analysis.analysis import BinErrors, ErrorAnalysis
from actloc.evaluation.error_analysis.bins import Bins, Characteristic
from actloc.evaluation.error_analysis.kinds import TRUE_POSITIVE
from actloc.reports.text import percent

KIND_NAMES = ("true positive", "double detection", "wrong label", "localization", "confusion", "background")
"""How the kinds are called on pages, in the order of `KINDS`."""
MEANINGS = (
    "right",
    "its true action is matched by a prediction of higher score",
    "overlaps enough, but an action of another class",
    "right class, overlaps too little",
    "overlaps too little an action of another class",
    "no action there: tIoU below 0.10",
)
"""What the kinds are, in the order of `KINDS`."""
TITLES: dict[Characteristic, str] = {
    "coverage": "Coverage: the share of its video that an action fills",
    "length": "Length of an action in seconds",
    "num-instances": "Instances: the actions of all classes in the video",
}


@dataclass(frozen=True)
class Part:
    """A part of a bar, positions in percent: how many of the group's predictions are of one kind."""

    kind: int
    name: str
    share: float
    top: float


@dataclass(frozen=True)
class Group:
    """The predictions of ranks (g - 1) G + 1 to g G; without parts if there are none."""

    place: int
    """From 0."""
    parts: list[Part]

    @property
    def name(self) -> str:
        """1G, 2G, ..."""
        return f"{self.place + 1}G"

    @property
    def words(self) -> str:
        """The bar as text: `1G: true positive 40.10 %, double detection 6.28 %, ...`."""
        parts = ", ".join(f"{part.name} {percent(part.share)} %" for part in self.parts)
        return f"{self.name}: {parts or 'no predictions'}"


@dataclass(frozen=True)
class KindLine:
    """One kind: its share of the best G and of the best 10 G predictions, and what it costs; None for what is right."""

    kind: int
    name: str
    meaning: str
    best: float | None
    every: float | None
    cost: float | None


@dataclass(frozen=True)
class BinLine:
    """The true actions of one range; None where there are none."""

    label: str
    range: str
    count: int
    share: float
    missed: float | None
    normalised_map: float | None


@dataclass(frozen=True)
class BinsView:
    """A characteristic of the true actions, range by range."""

    name: str
    title: str
    sentence: str
    lines: list[BinLine]
    left_out: int
    """True actions without a range."""


@dataclass(frozen=True)
class ErrorView:
    """What the page shows of one analysis."""

    normalised_map: float
    base: float
    mean_truths: float
    tious: list[float]
    groups: list[Group]
    kinds: list[KindLine]
    most_cost: float
    profile: str
    cost: str
    bins: list[BinsView]


def error_view(analysis: ErrorAnalysis) -> ErrorView:
    """Everything of an analysis as it is drawn."""
    found, num_tious = analysis.false_positives, len(analysis.tious)
    numbers = found.per_group.sum(axis=2) / num_tious  # (groups, kinds), on average over tIoUs
    best, every = _shares(numbers[0]), _shares(numbers.sum(axis=0))
    costs = [None, *found.gains.tolist()]
    kinds = [
        KindLine(kind, name, MEANINGS[kind], best[kind] if best else None, every[kind] if every else None, costs[kind])
        for kind, name in enumerate(KIND_NAMES)
    ]
    return ErrorView(
        normalised_map=analysis.normalised_map,
        base=analysis.base_normalised_map,
        mean_truths=analysis.mean_truths_per_class,
        tious=analysis.tious,
        groups=[_group(place, row.tolist()) for place, row in enumerate(numbers)],
        kinds=kinds,
        most_cost=max(found.gains.max(), 1e-9),
        profile=_profile_sentence(best),
        cost=cost_sentence(analysis),
        bins=[_bins_view(one) for one in analysis.by_bin],
    )


def cost_sentence(analysis: ErrorAnalysis) -> str:
    """Which kind of error costs most, and how much."""
    gains, base = analysis.false_positives.gains, analysis.normalised_map
    worst = int(np.argmax(gains))
    if gains[worst] <= 0:
        return "No kind of false positive costs anything."
    name = KIND_NAMES[worst + 1].capitalize()
    raised = f"mAP_N would be {100 * gains[worst]:.2f} points higher"
    return f"{name} costs most: without it {raised} ({percent(base + gains[worst])} instead of {percent(base)})."


def _profile_sentence(best: list[float] | None) -> str:
    if best is None:
        return "There is no prediction of a class with true actions."
    rest = best[TRUE_POSITIVE + 1 :]
    most = max(range(len(rest)), key=rest.__getitem__)
    right = f"Of the best G predictions of each class, {percent(best[TRUE_POSITIVE])} % are true positives"
    if not rest[most]:
        return f"{right}."
    return f"{right}; the most frequent error is {KIND_NAMES[most + 1]}, with {percent(rest[most])} %."


def _shares(numbers: Floats) -> list[float] | None:
    total = float(numbers.sum())
    return [float(number) / total for number in numbers] if total else None


def _group(place: int, numbers: Sequence[float]) -> Group:
    total, parts, top = sum(numbers), [], 100.0
    for kind, number in enumerate(numbers):
        if number:
            share = number / total
            top -= 100 * share
            parts.append(Part(kind, KIND_NAMES[kind], share, max(top, 0.0)))
    return Group(place, parts)


def _bins_view(one: BinErrors) -> BinsView:
    bins, missed = one.bins, one.missed.mean(axis=0)
    lines = [
        BinLine(label, text, count, share, _known(missed[place]), _known(one.normalised_map[place]))
        for place, (label, text, count, share) in enumerate(
            zip(bins.labels, ranges(bins), bins.counts.tolist(), one.share.tolist(), strict=True)
        )
    ]
    left_out = len(bins.places) - sum(line.count for line in lines)
    name = bins.characteristic.removeprefix("num-")  # as the page says it; errors.json and errors.csv keep the paper's
    return BinsView(name, TITLES[bins.characteristic], _bins_sentence(lines), lines, left_out)


def _bins_sentence(lines: Sequence[BinLine]) -> str:
    known = [(line.missed, line) for line in lines if line.missed is not None]
    if not known:
        return "No true action has a range."
    most, worst = max(known, key=lambda pair: pair[0])
    least, best = min(known, key=lambda pair: pair[0])
    if most == least:
        return f"{percent(most)} % of the true actions are missed in every range."
    return (
        f"Missed most are those of {worst.label} ({worst.range}): {percent(most)} % of {worst.count}; "
        f"least those of {best.label} ({best.range}): {percent(least)} % of {best.count}."
    )


def ranges(bins: Bins) -> list[str]:
    """The ranges in words, with their unit: `3 to 6 s`, `above 18 s`, `up to 2 %`."""
    unit = {"coverage": " %", "length": " s", "num-instances": ""}[bins.characteristic]
    scale = 100 if bins.characteristic == "coverage" else 1
    is_whole = bins.characteristic == "num-instances"
    texts = []
    for place, (low, high) in enumerate(zip(bins.edges, bins.edges[1:], strict=False)):
        least, most = f"{scale * low:.4g}", f"{scale * high:.4g}"
        if isinf(high):
            texts.append(f"above {least}{unit}")
        elif place == 0 and low <= 0:
            texts.append(f"up to {most}{unit}")
        elif is_whole:
            first = int(low) + (place > 0)
            texts.append(f"{first} to {int(high)}" if first < int(high) else f"{int(high)}")
        else:
            texts.append(f"{least} to {most}{unit}")
    return texts


def _known(value: float) -> float | None:
    return None if isnan(value) else float(value)
