import random
from typing import Any

import numpy as np
import pytest
import torch

from actloc.ops.windows import clip_past_end, random_window, resize
from actloc.structures import Targets


def test_a_crop_is_the_same_for_the_same_generator() -> None:
    targets = Targets(torch.tensor([[10.0, 20.0], [60.0, 90.0]]), torch.tensor([0, 1]))
    first, second = (
        random_window(
            100, targets, random.Random(5), offset_steps=1.0, max_steps=40, crop_ratio=(0.9, 1.0), min_kept=0.5
        )
        for _ in range(2)
    )
    assert first[:2] == second[:2]
    assert torch.equal(first[2].segments, second[2].segments)
    assert first[1] == 40
    assert len(first[2].labels) > 0


def test_a_video_without_actions_is_cut_only_if_it_is_too_long() -> None:
    settings: dict[str, Any] = {"offset_steps": 1.0, "max_steps": 40, "crop_ratio": (0.5, 0.6), "min_kept": 0.5}
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
