"""Windows of a video's features and actions, as training and evaluation see them (ActionFormer's rules)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from actloc.structures import Grid, Sample, Targets

if TYPE_CHECKING:
    from torch import Tensor

_MOST_TRIES = 200


@dataclass(frozen=True)
class WindowRules:
    """How long training windows are, and which actions are kept in them."""

    max_steps: int
    """The length of a window in longer videos."""
    crop_ratio: tuple[float, float] | None
    """Shorter videos are cropped to a random fraction between these; None: not at all."""
    min_kept: float
    """An action is kept if at least this fraction of its length is inside,"""
    min_filled: float | None = None
    """or if it fills at least this fraction of the window; None: only the first rule counts."""
    may_be_empty: bool = False
    """Whether the first window is taken, even if no action is in it."""
    has_margin: bool = True
    """Whether windows reach beyond their first and last step, as the video does before its first one."""

    def margin_steps(self, grid: Grid) -> float:
        """How far windows on this grid reach beyond their first and last step."""
        return _reach_steps(grid) if self.has_margin else 0.0


def random_window(
    num_steps: int,
    targets: Targets,
    generator: random.Random,
    *,
    offset_steps: float,
    rules: WindowRules,
) -> tuple[int, int, Targets]:
    """Start and length of a window that keeps at least one action, and what is left of the actions in it.

    Windows reach `offset_steps` beyond their first and last step. If 200 windows keep no action, the last of them is
    returned without actions; where windows may be empty, the first one is that has a labelled step.
    Draws from `generator`: the length if it is random, then one start per try.
    """
    max_steps = rules.max_steps
    has_actions = len(targets.labels) > 0
    if not has_actions and num_steps <= max_steps:
        return 0, num_steps, targets
    length = _window_length(num_steps, generator, max_steps, rules.crop_ratio)
    if length == num_steps:
        return 0, num_steps, targets
    start, kept = 0, Targets.none()
    may_be_empty = rules.may_be_empty or not has_actions
    for _ in range(_MOST_TRIES):
        start = generator.randint(0, num_steps - length)
        kept = _inside(targets, start - offset_steps, start + length + offset_steps, rules)
        if len(kept.labels) or (may_be_empty and has_labelled_step(kept, start, length)):
            break
    return start, length, kept.mapped(lambda steps: steps - start)


def has_labelled_step(targets: Targets, start: int, length: int) -> bool:
    """Whether it is known what happens at any of the `length` steps from `start` on."""
    if targets.unlabelled is None:
        return True
    import torch

    return not bool(targets.is_unlabelled(torch.arange(start, start + length)).all())


def covering_windows(num_steps: int, length: int, overlap: float, *, last_is_whole: bool) -> list[tuple[int, int]]:
    """Start and length of the windows that cover `num_steps`; neighbours share `overlap` of `length`.

    A last window that would reach beyond the end begins earlier if `last_is_whole`; else it is cut there.
    """
    if num_steps <= length:
        return [(0, num_steps)]
    stride = max(1, round(length * (1 - overlap)))
    whole = [(start, length) for start in range(0, num_steps - length, stride)]
    last = num_steps - length if last_is_whole else len(whole) * stride
    return [*whole, (last, num_steps - last if not last_is_whole else length)]


def _window_length(
    num_steps: int, generator: random.Random, max_steps: int, crop_ratio: tuple[float, float] | None
) -> int:
    if num_steps > max_steps:
        return max_steps
    if crop_ratio is None:
        return num_steps
    shortest = max(round(crop_ratio[0] * num_steps), 1)
    longest = min(round(crop_ratio[1] * num_steps), num_steps)
    return generator.randint(shortest, longest)


def _inside(targets: Targets, start: float, end: float, rules: WindowRules) -> Targets:
    clipped = targets.segments.clamp(min=start, max=end)
    inside = (clipped[:, 1] - clipped[:, 0]).clamp(min=0)
    is_kept = inside / (targets.segments[:, 1] - targets.segments[:, 0]) >= rules.min_kept
    if rules.min_filled is not None:
        is_kept |= inside / (end - start) >= rules.min_filled
    return replace(targets, segments=clipped[is_kept], labels=targets.labels[is_kept])


def training_window(sample: Sample, generator: random.Random, *, clips_past_end: bool, rules: WindowRules) -> Sample:
    """The sample cropped at random, with what is left of its actions; `clips_past_end` is ActivityNet's rule."""
    targets, reach = sample.targets, _reach_steps(sample.grid)
    if clips_past_end:
        targets = clip_past_end(targets, sample.num_steps + reach, rules.min_kept)
    margin = rules.margin_steps(sample.grid)
    start, length, kept = random_window(sample.num_steps, targets, generator, offset_steps=margin, rules=rules)
    return sample.part(start, length, kept)


def window_of(sample: Sample, start: int, length: int, *, clips_past_end: bool, rules: WindowRules) -> Sample:
    """The sample's window of `length` steps from `start`, with what is left of its actions."""
    targets, reach = sample.targets, _reach_steps(sample.grid)
    if clips_past_end:
        targets = clip_past_end(targets, sample.num_steps + reach, rules.min_kept)
    margin = rules.margin_steps(sample.grid)
    kept = _inside(targets, start - margin, start + length + margin, rules)
    return sample.part(start, length, kept.mapped(lambda steps: steps - start))


def window_at_any_frame(
    sample: Sample, num_frames: int, generator: random.Random, *, clips_past_end: bool, rules: WindowRules
) -> tuple[int, int, Targets]:
    """As `training_window`, but beginning at any of the video's frames, so between two steps as well.

    Returns the frames from the video's first step to the window's, its number of steps, and its actions in steps from
    its beginning.
    """
    targets, step, reach = sample.targets, sample.grid.stride_frames, _reach_steps(sample.grid)
    if clips_past_end:
        targets = clip_past_end(targets, sample.num_steps + reach, rules.min_kept)
    start, length, kept = random_window(
        num_frames,
        targets.mapped(lambda steps: steps * step),
        generator,
        offset_steps=rules.margin_steps(sample.grid) * step,
        rules=replace(rules, max_steps=round(rules.max_steps * step)),
    )
    return start, math.ceil(length / step), kept.mapped(lambda frames: frames / step)


def _reach_steps(grid: Grid) -> float:
    """How far the video reaches before its first step, if it does."""
    return max(grid.offset_steps, 0.0)


def even_grid(fps: float, num_frames: float, num_steps: int) -> Grid:
    """ActivityNet's grid: a span of frames from the first one on is cut into equal steps, each centred in its own.

    Step i is from part i / num_steps of the span to part (i + 1) / num_steps.
    """
    stride = num_frames / num_steps
    return Grid(fps, stride, 0.5 * stride)


def resized_grid(num_rows: int, grid: Grid, row_frames: float, resize_to: int) -> Grid:
    """The even grid of the whole span that the features cover, each of which is of `row_frames` frames."""
    return even_grid(grid.fps, (num_rows - 1) * grid.stride_frames + row_frames, resize_to)


def clip_past_end(targets: Targets, end_steps: float, min_kept: float) -> Targets:
    """Actions cut at `end_steps`; gone if they start there or later, or keep less than `min_kept` of their length.

    ActivityNet's training rule: a video's features may end before its annotations do.
    """
    starts, ends = targets.segments.unbind(1)
    share = (ends.clamp(max=end_steps) - starts) / (ends - starts)
    is_kept = (starts < end_steps) & (share >= min_kept)
    segments = targets.segments[is_kept].clamp(max=end_steps)
    return replace(targets, segments=segments, labels=targets.labels[is_kept])


def resize(features: Tensor, num_steps: int) -> Tensor:
    """Features (C, T) linearly interpolated to (C, num_steps), ends not aligned; unchanged if already that long."""
    from torch.nn.functional import interpolate

    if features.shape[1] == num_steps:
        return features
    return interpolate(features[None], size=num_steps, mode="linear", align_corners=False)[0]
