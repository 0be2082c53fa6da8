import random
from typing import Any

import numpy as np
import pytest
import torch

from actloc.ops.windows import (
    WindowRules,
    clip_past_end,
    covering_windows,
    random_window,
    resize,
    training_window,
    window_at_any_frame,
    window_of,
)
from actloc.structures import Grid, Sample, Targets


def test_a_crop_is_the_same_for_the_same_generator() -> None:
    targets = Targets(torch.tensor([[10.0, 20.0], [60.0, 90.0]]), torch.tensor([0, 1]))
    first, second = (
        random_window(100, targets, random.Random(5), offset_steps=1.0, rules=WindowRules(40, (0.9, 1.0), 0.5))
        for _ in range(2)
    )
    assert first[:2] == second[:2]
    assert torch.equal(first[2].segments, second[2].segments)
    assert first[1] == 40
    assert len(first[2].labels) > 0


def test_a_video_without_actions_is_cut_only_if_it_is_too_long() -> None:
    settings: dict[str, Any] = {"offset_steps": 1.0, "rules": WindowRules(40, (0.5, 0.6), 0.5)}
    short = random_window(30, Targets.none(), random.Random(0), **settings)
    long = random_window(90, Targets.none(), random.Random(0), **settings)
    assert short[:2] == (0, 30)
    assert long[1] == 40


def test_actions_past_the_last_feature_are_clipped_or_dropped() -> None:
    targets = Targets(torch.tensor([[0.0, 5.0], [8.0, 12.0], [9.5, 20.0], [11.0, 12.0]]), torch.arange(4))
    kept = clip_past_end(targets, 10.0, 0.5)
    assert kept.segments.tolist() == [[0.0, 5.0], [8.0, 10.0]]
    assert kept.labels.tolist() == [0, 1]


@pytest.mark.parametrize("num_steps", [10, 25, 40])
def test_resizing_interpolates_without_aligning_ends(num_steps: int) -> None:
    features = torch.arange(25.0)[None]
    resized = resize(features, num_steps)
    assert resized.shape == (1, num_steps)
    wanted = np.clip((np.arange(num_steps) + 0.5) * 25 / num_steps - 0.5, 0, 24)
    np.testing.assert_allclose(resized[0].numpy(), wanted, atol=1e-5)


def test_an_action_longer_than_the_window_is_kept_where_it_fills_it() -> None:
    targets, none_inside = Targets(torch.tensor([[0.0, 100.0]]), torch.tensor([0])), WindowRules(10, None, 0.75)
    assert len(random_window(100, targets, random.Random(0), offset_steps=0.0, rules=none_inside)[2].labels) == 0
    filled = WindowRules(10, None, 0.75, min_filled=0.75)
    _, length, kept = random_window(100, targets, random.Random(0), offset_steps=0.0, rules=filled)
    assert length == 10
    assert kept.segments.tolist() == [[0.0, 10.0]]


@pytest.mark.parametrize("has_margin", [True, False])
def test_what_an_action_has_beyond_the_steps_of_a_window_is_kept_if_windows_have_a_margin(has_margin: bool) -> None:
    actions = Targets(torch.tensor([[0.0, 100.0]]), torch.tensor([0]))
    sample = Sample("v", torch.zeros(1, 100), actions, Grid(30.0, 4.0, 8.0))
    rules = WindowRules(10, None, 0.05, has_margin=has_margin)
    ends = [[-2.0, 12.0]] if has_margin else [[0.0, 10.0]]
    for first in (window_of(sample, 40, 10, clips_past_end=False, rules=rules), None):
        window = first or training_window(sample, random.Random(7), clips_past_end=False, rules=rules)
        assert window.targets.segments.tolist() == ends


def test_where_windows_may_be_empty_all_starts_are_equally_likely() -> None:
    targets = Targets(torch.tensor([[0.0, 4.0]]), torch.tensor([0]))
    rules = WindowRules(10, None, 0.75, may_be_empty=True)
    found = [random_window(100, targets, random.Random(seed), offset_steps=0.0, rules=rules) for seed in range(300)]
    assert sum(start > 4 for start, _, _ in found) > 250
    assert all((len(kept.labels) == 1) == (start <= 1) for start, _, kept in found)


def test_windows_at_any_frame_begin_between_steps_too_and_keep_the_actions_times() -> None:
    actions = Targets(torch.tensor([[20.0, 30.0]]), torch.tensor([0]))
    whole = Sample("v", torch.zeros(1, 60), actions, Grid(15.0, 2.0, 0.0))
    rules = WindowRules(24, None, 0.75)
    starts = set()
    for seed in range(50):
        first_frame, steps, kept = window_at_any_frame(
            whole, 120, random.Random(seed), clips_past_end=False, rules=rules
        )
        assert steps == 24
        starts.add(first_frame % 2)
        assert (first_frame + 2 * kept.segments).tolist()[0] == pytest.approx(
            [max(40.0, first_frame), min(60.0, first_frame + 48)]
        )
    assert starts == {0, 1}


@pytest.mark.parametrize(
    ("num_steps", "whole", "expected"),
    [
        (240, True, [(0, 240)]),
        (100, False, [(0, 100)]),
        (500, True, [(0, 240), (180, 240), (260, 240)]),
        (500, False, [(0, 240), (180, 240), (360, 140)]),
        (420, False, [(0, 240), (180, 240)]),
    ],
)
def test_the_last_window_is_whole_or_cut_at_the_end(
    num_steps: int, whole: bool, expected: list[tuple[int, int]]
) -> None:
    assert covering_windows(num_steps, 240, 0.25, last_is_whole=whole) == expected
