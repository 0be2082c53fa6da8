"""What a run expects in a window, and how sure it is: segments near their threshold, competing classes, weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actloc.annotations.annotated_time import Span
from actloc.evaluation.predictions import Prediction

_MOMENTS = 100
"""Equally spaced moments of a window at which it is asked what happens."""
_SHARPNESS = 2.0
"""A score with a third of the threshold's odds then counts as likely by a tenth, one with the same odds by a half."""
_LEAST = 1e-6

Curves = dict[str, NDArray[np.float64]]
"""By label, how likely an action of it happens at each of the moments of a window (100,), from 0 to 1."""


@dataclass(frozen=True)
class Doubt:
    """What is doubtful in a window, each from 0 to 1, and an example of it for people."""

    uncertainty: float
    """The mean over the moments of the window of how unsure the run is: 1 all of the time at a threshold."""
    disagreement: float
    """The mean over the moments of the largest difference between both weights, over the classes."""
    unsure_of: str = ""
    """What the run is most unsure of; empty without any."""
    differs_in: str = ""
    """What both weights differ in most; empty without any."""


def likelihood(score: float, threshold: float) -> float:
    """How likely a segment is an action: a half at the threshold, by the ratio of the odds, from 0 to 1."""
    own, limit = (min(max(value, _LEAST), 1.0 - _LEAST) for value in (score, threshold))
    ratio = (limit / (1.0 - limit)) / (own / (1.0 - own))
    return float(1.0 / (1.0 + ratio**_SHARPNESS))


def expected(found: Sequence[Prediction], thresholds: Mapping[str, float], window: Span) -> dict[str, float]:
    """How many actions of each label are in the window: the sum of likelihoods, each by the share that is inside."""
    number = dict.fromkeys(thresholds, 0.0)
    for one in found:
        inside_s = min(one.end_s, window[1]) - max(one.start_s, window[0])
        if inside_s > 0:
            number[one.label] += likelihood(one.score, thresholds[one.label]) * inside_s / (one.end_s - one.start_s)
    return number


def curves(found: Sequence[Prediction], thresholds: Mapping[str, float], window: Span) -> Curves:
    """Of each label with a segment in the window: the likelihood of the likeliest segment at each moment."""
    moments, listed = _moments(window), Curves()
    for one in found:
        if one.end_s <= window[0] or one.start_s >= window[1]:
            continue
        inside = (moments >= one.start_s) & (moments <= one.end_s)
        curve = listed.setdefault(one.label, np.zeros(_MOMENTS))
        curve[inside] = np.maximum(curve[inside], likelihood(one.score, thresholds[one.label]))
    return listed


def doubt(
    found: Sequence[Prediction],
    others: Sequence[Prediction],
    thresholds: Mapping[str, float],
    window: Span,
    names: tuple[str, str] = ("averaged", "raw"),
) -> Doubt:
    """The doubts about a window: `found` are the segments by the weights that are used, `others` by the other ones.

    `names` are those of the weights, for the sentences.
    """
    own, other = curves(found, thresholds, window), curves(others, thresholds, window)
    near, competing = _near(own), _competing(own)
    unsure = np.maximum(near, competing)
    labels = sorted({*own, *other})
    nothing = np.zeros(_MOMENTS)
    gaps = {label: np.abs(own.get(label, nothing) - other.get(label, nothing)) for label in labels}
    differing = np.max(list(gaps.values()), axis=0) if gaps else nothing
    sentence = ""
    if unsure.any():
        is_competing = competing[unsure.argmax()] > near[unsure.argmax()]
        at = int(unsure.argmax())
        ordered = sorted(own, key=lambda label: -own[label][at])
        if is_competing:
            sentence = f"{ordered[0]} or {ordered[1]} at {_moments(window)[at]:.1f} s"
        else:
            sentence = _near_threshold(found, thresholds, window)
    difference = _difference(gaps, found, others, window, names)
    return Doubt(float(unsure.mean()), float(differing.mean()), sentence, difference)


def _near(listed: Curves) -> NDArray[np.float64]:
    """4p(1 - p) of the worst class: 1 where one is at its threshold, 0 where all are surely there or surely not."""
    return np.max([4.0 * curve * (1.0 - curve) for curve in listed.values()], axis=0) if listed else np.zeros(_MOMENTS)


def _competing(listed: Curves) -> NDArray[np.float64]:
    """The likelihood of the second class at each moment: two that are likely at once."""
    return np.sort(list(listed.values()), axis=0)[-2] if len(listed) > 1 else np.zeros(_MOMENTS)


def _near_threshold(found: Sequence[Prediction], thresholds: Mapping[str, float], window: Span) -> str:
    """The segment that adds most to the uncertainty of the window."""

    def weight(one: Prediction) -> float:
        p = likelihood(one.score, thresholds[one.label])
        return p * (1.0 - p) * max(0.0, min(one.end_s, window[1]) - max(one.start_s, window[0]))

    best = max(found, key=weight)
    where = f"{best.label} at {best.start_s:.1f}-{best.end_s:.1f} s"
    return f"{where} ({best.score:.2g}, threshold {thresholds[best.label]:.2g})"


def _difference(
    gaps: Curves,
    found: Sequence[Prediction],
    others: Sequence[Prediction],
    window: Span,
    names: tuple[str, str],
) -> str:
    label = max(gaps, key=lambda name: gaps[name].sum(), default=None)
    if label is None or not gaps[label].any():
        return ""
    moment = float(_moments(window)[gaps[label].argmax()])

    def score(listed: Sequence[Prediction]) -> float:
        at = (one.score for one in listed if one.label == label and one.start_s <= moment <= one.end_s)
        return max(at, default=0.0)

    return f"{label} at {moment:.1f} s ({names[0]} {score(found):.2g}, {names[1]} {score(others):.2g})"


def _moments(window: Span) -> NDArray[np.float64]:
    """(100,): the middles of equal parts of the window, in seconds."""
    start_s, end_s = window
    return start_s + (np.arange(_MOMENTS) + 0.5) / _MOMENTS * (end_s - start_s)
