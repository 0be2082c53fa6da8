"""The rows of a table of mAP: runs with their intervals, and runs that differ in the seed as one row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Protocol

from actloc import console
from actloc.evaluation.results import Results
from actloc.evaluation.uncertainty import Interval
from actloc.reports import published
from actloc.reports.cells import by_tiou
from actloc.reports.text import UNMEASURED, percent

INTERVAL = "95 % interval"
"""The name of a row of intervals."""


class _Uncertainty(Protocol):
    """What the uncertainties of all tasks have."""

    @property
    def draws(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def reason(self) -> str: ...


class WithUncertainty(Protocol):
    """Results of any task."""

    @property
    def uncertainty(self) -> _Uncertainty | None:
        """None where it was not measured."""


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in the seed only, by their places in a list of runs."""

    places: tuple[int, ...]
    name: str
    caption: str
    """What the row is: of how many seeds, and of which."""


@dataclass(frozen=True)
class Entry:
    """A row that competes for the best: a run, or the mean of runs that differ in the seed only."""

    name: str
    places: tuple[int, ...]
    """Of its runs."""
    values: list[float | None]
    spreads: list[float | None]
    """The sample standard deviation of each value over the seeds; None for a single run."""

    def text(self, place: int) -> str:
        """A value in percent, with its standard deviation if it is a mean."""
        spread = self.spreads[place]
        return percent(self.values[place]) + ("" if spread is None else f" ± {percent(spread)}")


def entries(
    values: Sequence[Sequence[float | None]], names: Sequence[str], groups: Sequence[SeedGroup] = ()
) -> list[Entry]:
    """The rows of runs with these values, in their order; a group is where its first run is.

    A value that a run of a group does not have has no mean.
    """
    group_of = {group.places[0]: group for group in groups}
    merged = {place for group in groups for place in group.places}
    found = []
    for place, (own, name) in enumerate(zip(values, names, strict=True)):
        if place in group_of:
            group = group_of[place]
            columns = list(zip(*(values[member] for member in group.places), strict=True))
            means = [_of_all(column, fmean) for column in columns]
            found.append(Entry(group.name, group.places, means, [_of_all(column, stdev) for column in columns]))
        elif place not in merged:
            found.append(Entry(name, (place,), list(own), [None] * len(own)))
    return found


def _of_all(column: Sequence[float | None], measure: Callable[[list[float]], float]) -> float | None:
    measured = [one for one in column if one is not None]
    return measure(measured) if len(measured) == len(column) else None


def values_of(run: Results, tious: Sequence[float]) -> list[float | None]:
    """mAP at the tIoUs of a table, then the average."""
    at = by_tiou(run.tious, run.mean_ap)
    return [*(at.get(tiou) for tiou in tious), run.average_map]


def above_published(entry: Entry, runs: Sequence[Results]) -> str:
    """The difference of a row's average to the published one; a dash where they cannot be compared."""
    own = [runs[place] for place in entry.places]
    if any(published.hindrance(run) for run in own):
        return UNMEASURED
    return published.difference(entry.values[-1], published.average_for(own[0]))


def interval_text(interval: Interval | None) -> str:
    """`60.12 to 72.30`, in percent; a dash if there is none."""
    return UNMEASURED if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def interval_texts(run: Results, tious: Sequence[float]) -> list[str]:
    """The intervals at the tIoUs of a table, then that of the average; empty if they were not measured."""
    about = run.uncertainty
    if about is None:
        return []
    at = {round(tiou, 4): one for tiou, one in zip(run.tious, about.mean_ap, strict=True)}
    return [*(interval_text(at.get(tiou)) for tiou in tious), interval_text(about.average_map)]


def interval_captions(runs: Sequence[WithUncertainty], names: Sequence[str]) -> list[str]:
    """How the intervals were measured, and why a run has none."""
    known = [run for run in runs if run.uncertainty is not None and run.uncertainty.draws]
    lines = []
    if known:
        drawn = sorted({(run.uncertainty.draws, run.uncertainty.seed) for run in known if run.uncertainty})
        how = " and ".join(f"{console.count(number, 'draw')} with seed {seed}" for number, seed in drawn)
        lines.append(f"{INTERVAL}: percentile bootstrap over videos, {how}.")
    for name, run in zip(names, runs, strict=True):
        if run.uncertainty is not None and run.uncertainty.reason:
            lines.append(f"{name} has no {INTERVAL}: {run.uncertainty.reason}.")
    return lines
