"""Ranges of true actions by coverage, length and number of instances: THUMOS14's, ActivityNet's, or quintiles."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from actloc.evaluation.columns import Floats, Integers
from actloc.evaluation.error_analysis.subset import Subset
from actloc.settings.choices import ErrorBins

Characteristic = Literal["coverage", "length", "num-instances"]

_INF = float("inf")
_EDGES: dict[ErrorBins, dict[Characteristic, list[float]]] = {
    "thumos14": {
        "coverage": [0.0, 0.02, 0.04, 0.06, 0.08, 1.0],
        "length": [0.0, 3.0, 6.0, 12.0, 18.0, _INF],
        "num-instances": [-1.0, 1.0, 40.0, 80.0, _INF],
    },
    "activitynet": {
        "coverage": np.linspace(0, 1, 6).tolist(),
        "length": [0.0, 30.0, 60.0, 120.0, 180.0, _INF],
        "num-instances": [-1.0, 1.0, 4.0, 8.0, _INF],
    },
}
_OF_DATASET: dict[str, ErrorBins] = {"thumos14": "thumos14", "activitynet13": "activitynet"}
_LABELS = {1: ["M"], 2: ["S", "L"], 3: ["S", "M", "L"], 4: ["XS", "S", "M", "L"], 5: ["XS", "S", "M", "L", "XL"]}
_DECIMALS = 9
"""Times are rounded to a nanosecond: 7.1 - 4.1 is 3 s, and not a little less."""


@dataclass(frozen=True)
class Bins:
    """The ranges of one characteristic, and the range of each true action."""

    characteristic: Characteristic
    edges: list[float]
    """A value is in a range if it is above its first edge, or is that of the first range, and not above its last."""
    labels: list[str]
    places: Integers
    """The range of each true action, -1 for none."""

    @property
    def counts(self) -> Integers:
        """The true actions of each range."""
        return np.bincount(self.places[self.places >= 0], minlength=len(self.labels))


def bins_for(chosen: ErrorBins | None, dataset: str) -> ErrorBins:
    """The bins that are chosen; by default those of the dataset, and quintiles for datasets that have none."""
    return chosen or _OF_DATASET.get(dataset, "quintiles")


def bins_of(subset: Subset, name: ErrorBins) -> list[Bins]:
    """The ranges of each characteristic.

    A true action of no length has no range, and one with a coverage above 1 none of coverage. Instances are those of
    all classes in the video.
    """
    truth = subset.truth
    lengths = np.round(truth.ends_s - truth.starts_s, _DECIMALS)
    with np.errstate(divide="ignore", invalid="ignore"):
        coverage = np.round(lengths / subset.durations_s[truth.videos], _DECIMALS)
    instances = np.bincount(truth.videos, minlength=len(subset.durations_s))[truth.videos].astype(np.float64)
    values: dict[Characteristic, Floats] = {"coverage": coverage, "length": lengths, "num-instances": instances}
    has_length = lengths > 0
    listed = []
    for characteristic, column in values.items():
        is_known = has_length & (coverage <= 1) if characteristic == "coverage" else has_length
        edges = _quintiles(column[is_known]) if name == "quintiles" else _EDGES[name][characteristic]
        places = np.searchsorted(edges[1:], column, side="left")
        places = np.where(is_known & (column >= edges[0]) & (column <= edges[-1]), places, -1)
        listed.append(Bins(characteristic, edges, _LABELS[len(edges) - 1], places))
    return listed


def _quintiles(values: Floats) -> list[float]:
    """The edges of five ranges with equally many values; of fewer ranges where values are equal."""
    if not len(values):
        return [0.0, 0.0]
    edges: list[float] = np.unique(np.quantile(values, np.linspace(0, 1, 6))).tolist()
    return edges if len(edges) > 1 else [*edges, *edges]
