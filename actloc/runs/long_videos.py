"""Detection in long videos: the detector sees them window by window, so that memory does not grow with the video.

An output depends on the features within the detector's reach. Each window is therefore seen with a margin of at least
that on both sides, and only what lies inside the margins is kept: together that is what the whole video gives. Windows
begin at whole steps of the coarsest level, so that the points of every level are those of the whole video.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from actloc.detectors.base_network import PointDetector
from actloc.ops.points import best_of_both, joined, longer
from actloc.ops.pointwise import PointOutputs, best_of_levels, part_of
from actloc.structures import Detections

Load = Callable[[int, int], tuple[Tensor, Tensor]]
"""Features (1, C, T) and mask (1, T) of the steps from one to another; they may be beyond the end of the video."""

Network = Callable[[Tensor, Tensor], PointOutputs]
"""Outputs of features and a mask, as `Detector.forward` gives them."""

_MARGINS_KEPT = 6
"""At least this many margins of a window are kept: the two around them then add at most a third of the work."""

_MARGINS_WATCHED = 3
"""The same for `watch`, which works more for finding actions earlier: it waits until a window is full."""


@dataclass(frozen=True)
class Window:
    """Steps of a video that the detector sees at once, and those of them whose outputs are kept."""

    seen: range
    kept: range


def margin_of(detector: PointDetector) -> int | None:
    """The detector's reach in whole steps of the coarsest level; None if it has none, and sees any video whole."""
    reach, unit = detector.config.reach_steps, detector.config.strides[-1]
    kind = type(detector)  # of a detector that selects in its own way, what to keep of a window is unknown
    has_own_rules = kind.select is not PointDetector.select or kind.detect is not PointDetector.detect
    return None if reach is None or has_own_rules else math.ceil(reach / unit) * unit


def longest_whole(detector: PointDetector) -> int | None:
    """The most steps that are seen at once, as the whole of a shorter video or a window of a longer one; None: any.

    A window keeps at least as many steps as training sees at once.
    """
    margin = margin_of(detector)
    return None if margin is None else _kept_steps(detector, _MARGINS_KEPT * margin) + 2 * margin


def watched_steps(detector: PointDetector) -> int | None:
    """The most steps that `watch` keeps of a window; None where it has none, as the detector sees any video whole."""
    margin = margin_of(detector)
    return None if margin is None else _kept_steps(detector, _MARGINS_WATCHED * margin)


def _kept_steps(detector: PointDetector, least: int) -> int:
    """As many steps as training sees at once, or `least`; whole steps of the coarsest level, as `least` is."""
    unit = detector.config.strides[-1]
    return max(math.ceil(detector.max_steps / unit) * unit, least)


def is_long(detector: PointDetector, num_steps: int) -> bool:
    """Whether `watch` finds something before the end of a video of so many steps: its first window is full by then.

    Only these have candidates that can be called too long without being asked to.
    """
    kept, margin = watched_steps(detector), margin_of(detector)
    return kept is not None and margin is not None and num_steps >= kept + margin


def padded_beyond(detector: PointDetector, num_steps: int) -> int:
    """What the detector pads a video to, also one beyond the length that it takes as a whole."""
    unit = math.lcm(detector.config.strides[-1], detector.divisor)  # with which the padding repeats
    left_out = max((num_steps - detector.max_steps) // unit - 1, 0) * unit
    return detector.padded_steps(num_steps - left_out) + left_out


def windows(num_steps: int, padded_steps: int, longest: int, margin: int) -> list[Window]:
    """Windows of at most `longest` steps that cover a video of `num_steps`; on both sides `margin` of them is not kept.

    The last one ends where the padding of the whole video does, at `padded_steps`. All numbers of steps but the video's
    are whole steps of the coarsest level, so that windows begin at such steps.
    """
    length = longest - 2 * margin
    starts = range(0, num_steps, length)
    kept = [range(start, min(start + length, padded_steps)) for start in starts]
    return [Window(range(max(one.start - margin, 0), min(one.stop + margin, padded_steps)), one) for one in kept]


def equal_windows(padded_steps: int, length: int, margin: int) -> list[Window]:
    """Windows of exactly `length` steps, more than two margins, that cover a longer video; numbers as in `windows`."""
    found: list[Window] = []
    start = 0
    while start < padded_steps:
        first = min(max(start - margin, 0), padded_steps - length)
        end = first + length
        kept = range(start, end if end == padded_steps else end - margin)
        found.append(Window(range(first, end), kept))
        start = kept.stop
    return found


def detect_in_windows(
    detector: PointDetector, network: Network, padded_steps: int, cut: Sequence[Window], load: Load
) -> Detections:
    """What `detector` finds in a video that is cut into these windows, in its feature steps, before suppression.

    Every limit counts for the whole video, which the detector pads to `padded_steps`. `network` is the detector, or
    computes the same.
    """
    most = detector.kept_per_level(padded_steps)
    levels: list[Detections] = []
    for window in cut:
        outputs = network(*load(window.seen.start, window.seen.stop))
        found = found_in_window(detector, outputs, window, most)
        levels = [best_of_both(*pair, most) for pair in zip(levels, found, strict=True)] if levels else found
    return longer(joined(levels), detector.config.shortest_steps)


def found_in_window(detector: PointDetector, outputs: PointOutputs, window: Window, most: int) -> list[Detections]:
    """Of each level the `most` best segments that a window keeps, in float64 steps of the video, on the CPU.

    `outputs` are those of all steps that the window sees. Segments are computed in steps of the window: hours after the
    start, float32 does not know small parts of a step.
    """
    start, end = (step - window.seen.start for step in (window.kept.start, window.kept.stop))
    kept = part_of(outputs, detector.config.strides, start, end)
    (levels,) = best_of_levels(kept, detector.config.score_threshold, most)
    here = [(level, level.segments.cpu().double() + window.seen.start) for level in levels]
    return [Detections(steps, one.scores.cpu(), one.labels.cpu(), cut_by=one.cut_by) for one, steps in here]
