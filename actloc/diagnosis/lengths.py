"""Which actions the features and the levels of a detector can hold, and which settings would hold more."""

import itertools
import math
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.detectors.base import DetectorConfig, PointConfig
from actloc.diagnosis.finding import Finding, graded
from actloc.sources.base import SourceConfig

Floats = NDArray[np.float64]
_MOST_ACTIONS = 20_000
_AT_ONCE = 64
_WORTH_A_WARNING = 0.05
"""Share of the actions that cannot be learned or found, from which it is a warning."""
_LEAST_STEPS = 4
"""Steps that a short action should have: the finest level of the official ranges reaches 4 steps."""


def findings(videos: Sequence[AnnotatedVideo], config: SourceConfig, detector: DetectorConfig) -> list[Finding]:
    """Shares of the actions that are too short or too long, and settings by the lengths of the actions."""
    step_s = _step_s(videos, config)
    lengths_s = np.array(
        [one.end_s - one.start_s for video in videos for one in video.actions if one.end_s > one.start_s]
    )
    if step_s is None or not len(lengths_s):
        return []
    shortest_s, usual_s, longest_s = np.percentile(lengths_s, [10, 50, 95]).tolist()
    shown = (
        f"Actions last {shortest_s:.3g} to {longest_s:.3g} s (10 % are shorter, 5 % longer), {usual_s:.3g} s usually"
    )
    facts = {"p10": shortest_s, "median": usual_s, "p95": longest_s, "step_s": step_s}
    found = [Finding("note", "lengths", f"{shown}; a step of the features is {step_s:.3g} s", value=facts)]
    found += _too_short(config, lengths_s, step_s, shortest_s)
    found += _too_long(config, detector, lengths_s, step_s)
    if isinstance(detector, PointConfig):
        starts_s = np.array([one.start_s for video in videos for one in video.actions if one.end_s > one.start_s])
        found += _unreached(detector, starts_s / step_s, lengths_s / step_s)
        found += _suggested(detector, longest_s / step_s)
    return found


def _step_s(videos: Sequence[AnnotatedVideo], config: SourceConfig) -> float | None:
    """Seconds of a step, usually; None where that is not known before the features are read."""
    durations = [video.duration_s for video in videos if video.duration_s]
    if config.resize_to is not None:
        return median(durations) / config.resize_to if durations else None
    rates = [video.fps for video in videos if video.fps]
    fps = config.fps if config.fps != "native" else (median(rates) if rates else None)
    return None if fps is None else config.stride_frames * config.downsample / fps


def _too_short(config: SourceConfig, lengths_s: Floats, step_s: float, shortest_s: float) -> list[Finding]:
    number = int((lengths_s < step_s).sum())
    if not number:
        return []
    share = number / len(lengths_s)
    verb = "is" if number == 1 else "are"
    what = f"{number} of {console.count(len(lengths_s), 'action')} {verb} shorter than a step of the features"
    wanted = shortest_s / _LEAST_STEPS
    stride = max(1, math.floor(config.stride_frames * wanted / step_s))
    fix = f"Set features.stride_frames={stride}" if stride < config.stride_frames else ""
    if config.resize_to is not None:
        fix = f"Set features.resize_to={math.ceil(config.resize_to * step_s / wanted)}"
    elif config.fps != "native" and (not fix or wanted < step_s * stride / config.stride_frames):
        fps = math.ceil(config.fps * step_s * stride / config.stride_frames / wanted)
        fix = f"{fix or 'Set'} features.fps={fps}"
    if fix:
        fix += ", and make the features again"
    severity = graded(share >= _WORTH_A_WARNING, "warning", "note")
    return [Finding(severity, "too_short_actions", what, "features", fix, share)]


def _too_long(config: SourceConfig, detector: DetectorConfig, lengths_s: Floats, step_s: float) -> list[Finding]:
    number = int((lengths_s > config.max_steps * step_s).sum())
    if not number:
        return []
    share = number / len(lengths_s)
    verb = "is" if number == 1 else "are"
    what = (
        f"{number} of {console.count(len(lengths_s), 'action')} {verb} longer than the windows of training, "
        f"{config.max_steps} steps"
    )
    unit = max(detector.strides) if isinstance(detector, PointConfig) else 1
    needed = math.ceil(float(lengths_s.max()) / step_s / unit) * unit
    severity = graded(share >= _WORTH_A_WARNING, "warning", "note")
    return [
        Finding(severity, "too_long_actions", what, "features.max_steps", f"Set features.max_steps={needed}", share)
    ]


def _unreached(detector: PointConfig, starts: Floats, lengths: Floats) -> list[Finding]:
    """Actions that are the target of no point, by the rule of training itself."""
    starts, lengths = starts[:_MOST_ACTIONS], lengths[:_MOST_ACTIONS]
    missed = np.logical_not(_reached(detector, starts, lengths))
    number = int(missed.sum())
    if not number:
        return []
    share = number / len(lengths)
    typical = float(np.median(lengths[missed]))
    verb = "is" if number == 1 else "are"
    what = (
        f"{number} of {console.count(len(lengths), 'action')} ({share:.0%}) {verb} reached by no level of the "
        f"detector, of {typical:.3g} steps usually: nothing learns them"
    )
    severity = graded(share >= _WORTH_A_WARNING, "warning", "note")
    ranges = _ranges(len(detector.strides))
    too_fine = typical < 1
    fix = "Lower features.stride_frames" if too_fine else f"Set detector.regression_ranges={ranges}"
    return [Finding(severity, "unreached_actions", what, "detector.regression_ranges", fix, share)]


def _reached(detector: PointConfig, starts: Floats, lengths: Floats) -> NDArray[np.bool_]:
    """For each action, in steps, whether some point of some level would learn it."""
    import torch

    from actloc.ops.points import assign_targets, level_points
    from actloc.structures import one_action

    strides, coarsest = detector.strides, max(detector.strides)
    radius = math.inf if detector.center_radius is None else detector.center_radius
    first = starts % coarsest + coarsest  # where an action lies among the points of all levels is all that matters
    reached = np.zeros(len(starts), bool)
    order = np.argsort(lengths)
    for begin in range(0, len(order), _AT_ONCE):
        chosen = order[begin : begin + _AT_ONCE]
        end = float((first[chosen] + lengths[chosen]).max()) + coarsest
        counts = [math.ceil(end / stride) + 1 for stride in strides]
        points = level_points(counts, strides, detector.regression_ranges)
        segments = torch.tensor(np.stack([first[chosen], first[chosen] + lengths[chosen]], axis=1), dtype=torch.float32)
        targets = [one_action(segment, 0) for segment in segments]
        classes, _ = assign_targets(points, targets, 1, radius)
        reached[chosen] = (classes > 0).any(dim=2).any(dim=1).numpy()
    return reached


def _ranges(levels: int) -> str:
    """Ranges that leave no gap, as ActionFormer's: each level reaches twice as far as the one before."""
    edges = [0, *(_LEAST_STEPS * 2**level for level in range(levels - 1)), 10000]
    return "[" + ",".join(f"[{one},{other}]" for one, other in itertools.pairwise(edges)) + "]"


def _suggested(detector: PointConfig, longest_steps: float) -> list[Finding]:
    """Levels by the rule of their authors: the coarsest one takes the longest actions, 4 to 8 of its steps."""
    levels = max(1, math.floor(math.log2(max(1.0, longest_steps / 8))) + 2)
    present = len(detector.strides)
    if abs(levels - present) <= 1:
        return []
    what = f"{present} levels for actions of up to {longest_steps:.3g} steps; {levels} would do"
    fix = f"Set detector.num_branch_blocks={levels - 1} detector.regression_ranges={_ranges(levels)}"
    value = {"present": present, "suggested": levels}
    return [Finding("note", "levels", what, "detector.num_branch_blocks", fix, value)]
