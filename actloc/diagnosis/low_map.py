"""Why the mAP is near 0: which single change of predictions raises it most, found on half of the videos.

Shifts and scales of time, other names of classes, another subset, and other predictions of the same run are tried. A
change counts if it also raises the mAP on the other half, which had no part in the choice.
"""

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from actloc import console
from actloc.annotations.model import Action, Annotations
from actloc.diagnosis.finding import Finding
from actloc.evaluation import detection
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.scoring import to_columns, truth_of
from actloc.settings.sections import EvaluationSettings

_LEAST_GAIN, _LEAST_RATIO = 0.05, 1.25
"""What a change must add to the mAP on both halves, and by what it must multiply it."""
_NEAR_0 = 0.1
_FEWEST_VIDEOS, _FEWEST_ACTIONS = 2, 6
"""In each half: with fewer, a change may help by chance."""
_MOST_PER_VIDEO = 200
_SHIFTS_S = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0)
_SHIFTS_STEPS = (0.5, 1.0, 2.0, 4.0, 8.0)
_RATES = (15.0, 24.0, 25.0, 30.0, 50.0, 60.0)
_STRIDES = range(1, 9)
_OVERLAP = 0.5


@dataclass(frozen=True)
class Change:
    """One thing that may be wrong."""

    kind: str
    what: str
    """What is done to the predictions."""
    fix: str
    apply: Callable[[Predictions], Predictions]
    subset: str | None = None
    """Score against this subset, not the run's own."""


@dataclass(frozen=True)
class Scored:
    """What is compared."""

    annotations: Annotations
    subset: str
    predictions: Predictions
    evaluation: EvaluationSettings
    step_s: float | None = None
    """Seconds of a step of the features, if known."""

    def average_map(self, ids: set[str], predictions: Predictions, subset: str | None = None) -> float:
        """The average mAP on these videos of the subset; 0 without a true action there."""
        protocol = PROTOCOLS[self.evaluation.protocol]
        truth = truth_of(self.annotations, subset or self.subset, protocol)
        actions = {name: found for name, found in truth.actions.items() if name in ids}
        if not any(actions.values()):
            return 0.0
        truth = replace(truth, videos=[one for one in truth.videos if one.id in ids], actions=actions)
        columns = to_columns(truth, {name: predictions[name] for name in predictions if name in actions}, protocol)
        return float(detection.average_precision(*columns, self.evaluation.tious, protocol).mean())

    def num_actions(self, ids: set[str]) -> int:
        """How many true actions these videos have."""
        return sum(len(self.annotations.videos[name].actions) for name in ids)

    def halves(self, subset: str | None = None) -> tuple[set[str], set[str]]:
        """The subset's videos with actions, in two halves that depend on their ids only."""
        names = [video.id for video in self.annotations.of_subset(subset or self.subset) if video.actions]
        names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        return set(names[::2]), set(names[1::2])


def findings(scored: Scored, alternatives: Sequence[Change]) -> list[Finding]:
    """The change that raises the mAP most, or how many were tried without success."""
    best_of = {
        name: sorted(listed, key=lambda one: -one.score)[:_MOST_PER_VIDEO]
        for name, listed in scored.predictions.items()
    }
    scored = replace(scored, predictions=best_of)
    chosen_on, checked_on = scored.halves()
    num_actions = min(scored.num_actions(half) for half in (chosen_on, checked_on))
    if min(len(chosen_on), len(checked_on)) < _FEWEST_VIDEOS or num_actions < _FEWEST_ACTIONS:
        what = f"{scored.subset!r} is too small to say why its mAP is what it is"
        return [Finding("note", "low_map", what, scored.subset, "Evaluate on more videos", len(chosen_on | checked_on))]
    before = [scored.average_map(half, best_of) for half in (chosen_on, checked_on)]
    changes = [*_changes(scored, chosen_on), *alternatives]
    ranked: list[tuple[float, float, Change]] = []
    for change in changes:
        halves = scored.halves(change.subset)
        if not all(halves):  # a subset of one video
            continue
        after = [scored.average_map(half, change.apply(best_of), change.subset) for half in halves]
        if all(new >= old + _LEAST_GAIN and new >= _LEAST_RATIO * old for new, old in zip(after, before, strict=True)):
            ranked.append((after[0], after[1], change))
    value = {"mAP": before, "tried": len(changes)}
    if not ranked:
        low = statistics.fmean(before) < _NEAR_0
        what = f"None of {len(changes)} changes of times, classes or subsets raises the mAP of {_percent(before)}"
        fix = "The network has not learned enough: train longer, or with more data" if low else ""
        return [Finding("warning" if low else "note", "low_map", what, scored.subset, fix, value)]
    plain = [one for one in ranked if one[2] not in alternatives]
    most = max((one[0] for one in plain), default=0.0)
    # predictions made anew also repair what is wrong with those at hand, so they must do better
    ranked = [*plain, *(one for one in ranked if one[2] in alternatives and one[0] > most + _LEAST_GAIN)]
    first, second, best = max(ranked, key=lambda one: one[0])
    what = (
        f"mAP rises from {100 * before[0]:.1f} to {100 * first:.1f} % on one half of the videos, and from "
        f"{100 * before[1]:.1f} to {100 * second:.1f} % on the other, {best.what}"
    )
    value |= {"change": best.what, "mAP_after": [first, second]}
    return [Finding("error", best.kind, what, scored.subset, best.fix, value)]


def _percent(values: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(values):.1f} %"


def _changes(scored: Scored, ids: set[str]) -> Iterator[Change]:
    """What is tried; what is estimated from the data is estimated on the videos `ids` only."""
    shifts, scales = _estimates(scored, ids)
    steps = [step * scored.step_s for step in _SHIFTS_STEPS] if scored.step_s else []
    for shift in dict.fromkeys([*shifts, *(sign * one for one in [*_SHIFTS_S, *steps] for sign in (1, -1))]):
        yield _shifted(shift)
    for factor in dict.fromkeys([*(scale for scale in scales), *_factors(scored.annotations)]):
        yield _scaled(factor)
    permutation = _permutation(scored, ids)
    if permutation:
        yield _renamed(permutation)
    for subset in sorted({video.subset for video in scored.annotations.videos.values()}):
        if subset.lower() != scored.subset.lower():
            fix = f"Set dataset.evaluation_subset={subset}, or make predictions of {scored.subset!r}"
            yield Change("wrong_subset", f"if they are scored on the subset {subset!r}", fix, lambda same: same, subset)
    names = _ids(scored)
    if names:
        one, other = next(iter(names.items()))
        what = f"if predictions are of the videos whose names are written otherwise, such as {other!r} for {one!r}"
        yield Change(
            "video_names",
            what,
            "Write the names of videos in predictions as in the annotations",
            lambda found: {names.get(name, name): listed for name, listed in found.items()},
        )


def _moved(found: Predictions, shift_s: float, factor: float) -> Predictions:
    return {
        name: [
            replace(one, start_s=one.start_s * factor + shift_s, end_s=one.end_s * factor + shift_s) for one in listed
        ]
        for name, listed in found.items()
    }


def _shifted(shift_s: float) -> Change:
    way = "later" if shift_s > 0 else "earlier"
    what = f"if the predictions are {abs(shift_s):.3g} s {way}: annotations and features begin at different times"
    fix = (
        f"Compare an action with its video; then move the annotations by {-shift_s:.3g} s, or correct "
        "dataset.first_frame, features.align or features.step_time"
    )
    return Change("shifted", what, fix, lambda found: _moved(found, shift_s, 1.0))


def _scaled(factor: float) -> Change:
    near = [
        f"{one:g} and {other:g} frames per second" for one in _RATES for other in _RATES
        if one < other and min(abs(factor - one / other), abs(factor - other / one)) < 0.005 * factor
    ]  # fmt: skip
    is_whole = min(abs(one - round(one)) for one in (factor, 1 / factor)) < 0.005  # as of a stride
    cause = f", as where {near[0]} are mixed up" if near and not is_whole else ", as with a wrong rate or stride"
    what = f"if the times of the predictions are multiplied by {factor:.4g}{cause}"
    fix = "Check features.fps, features.stride_frames and dataset.annotations_fps, then prepare and train again"
    return Change("scaled", what, fix, lambda found: _moved(found, 0.0, factor))


def _factors(annotations: Annotations) -> list[float]:
    factors = [one / other for one in _RATES for other in _RATES if one != other]
    factors += [one / other for one in _STRIDES for other in _STRIDES if one != other]
    rates = {round(video.fps, 2) for video in annotations.videos.values() if video.fps}
    for rate in sorted(rates)[:3]:
        factors += [rate, 1 / rate]
    return [*factors, 1000.0, 1e-3, 60.0, 1 / 60]


def _estimates(scored: Scored, ids: set[str]) -> tuple[list[float], list[float]]:
    """The shift and the factor of time on which most pairs of a prediction and a true action of its class agree."""
    shifts, ratios, lengths = [], [], []
    for video in scored.annotations.of_subset(scored.subset):
        if video.id not in ids:
            continue
        lengths += [action.end_s - action.start_s for action in video.actions]
        for one in scored.predictions.get(video.id, ())[: 3 * len(video.actions)]:
            own = (one.start_s + one.end_s) / 2
            for action in video.actions:
                centre = (action.start_s + action.end_s) / 2
                if action.label == one.label:
                    shifts.append(centre - own)
                    ratios += [float(np.log(centre / own))] if min(own, centre) > 0 else []
    if not shifts:
        return [], []
    width = max(0.05, 0.1 * statistics.median(lengths))
    factor = _most_common(ratios, 0.01)
    shift = _most_common(shifts, width)
    return [shift] if shift is not None else [], [float(np.exp(factor))] if factor is not None else []


def _most_common(values: Sequence[float], width: float) -> float | None:
    """The mean of the values in the interval of this width that holds the most of them."""
    if not values:
        return None
    ordered = np.sort(np.array(values))
    counts = np.searchsorted(ordered, ordered + width, side="right") - np.arange(len(ordered))
    first = int(counts.argmax())
    return float(ordered[first : first + int(counts[first])].mean())


def _permutation(scored: Scored, ids: set[str]) -> dict[str, str]:
    """The class that predictions of each class overlap most; each class is taken once, the best pairs first."""
    counts: Counter[tuple[str, str]] = Counter()
    for video in scored.annotations.of_subset(scored.subset):
        for action in video.actions if video.id in ids else ():
            overlapping = [
                (one.score, one.label)
                for one in scored.predictions.get(video.id, ())
                if _overlap(one, action) >= _OVERLAP
            ]
            if overlapping:
                counts[max(overlapping)[1], action.label] += 1
    renamed: dict[str, str] = {}
    for (predicted, true), _ in counts.most_common():
        if predicted not in renamed and true not in renamed.values():
            renamed[predicted] = true
    every = dict.fromkeys([*scored.annotations.classes, *(predicted for predicted, _ in counts)])
    left = [name for name in every if name not in renamed.values()]
    for name in (one for one in every if one not in renamed):
        if name in left:
            renamed[name] = name
            left.remove(name)
    return renamed if any(one != other for one, other in renamed.items()) else {}


def _overlap(one: Prediction, action: Action) -> float:
    shared = min(one.end_s, action.end_s) - max(one.start_s, action.start_s)
    return max(0.0, shared) / max(max(one.end_s, action.end_s) - min(one.start_s, action.start_s), 1e-9)


def _renamed(names: Mapping[str, str]) -> Change:
    other = [f"{one} is {true}" for one, true in names.items() if one != true]
    what = f"if classes have other names: {console.first_ten(other)}"
    fix = "Check the order of the classes, and which annotations the run was trained on"

    def apply(found: Predictions) -> Predictions:
        return {
            video_id: [replace(one, label=names.get(one.label, one.label)) for one in listed]
            for video_id, listed in found.items()
        }

    return Change("permuted_labels", what, fix, apply)


def _ids(scored: Scored) -> dict[str, str]:
    """The true id of each video that has predictions under another name, such as one with v_ or .mp4."""
    known = {video.id for video in scored.annotations.of_subset(scored.subset)}

    def plain(name: str) -> str:
        return name.lower().removeprefix("v_").rpartition("/")[2].rpartition(".")[0] or name.lower().removeprefix("v_")

    by_plain: dict[str, list[str]] = {}
    for name in known:
        by_plain.setdefault(plain(name), []).append(name)
    unknown = [name for name in scored.predictions if name not in known]
    return {name: by_plain[plain(name)][0] for name in unknown if len(by_plain.get(plain(name), ())) == 1}
