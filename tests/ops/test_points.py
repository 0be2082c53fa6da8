import json

import numpy as np
import pytest
import torch

from actloc.ops.points import KEPT_PER_LEVEL, Points, assign_targets, best_of_both, best_segments, level_points, longer
from actloc.structures import Targets
from tests.golden.cases import GOLDEN, load_case

FACTS = json.loads((GOLDEN / "labels.json").read_text())
ONE_LEVEL = level_points([16], [1], [(0.0, 100.0)])


def points_of(facts: dict) -> Points:
    lengths = [facts["T"] // stride for stride in facts["strides"]]
    return level_points(lengths, facts["strides"], [tuple(pair) for pair in facts["regression_range"]])


def check(classes: torch.Tensor, offsets: torch.Tensor, arrays: dict[str, np.ndarray], prefix: str) -> None:
    positive = classes.sum(dim=1).nonzero().squeeze(1)
    np.testing.assert_array_equal(positive.numpy(), arrays[f"{prefix}_pos"])
    np.testing.assert_array_equal(classes.nonzero().numpy(), arrays[f"{prefix}_pos_cls"])
    np.testing.assert_array_equal(offsets[positive].numpy(), arrays[f"{prefix}_pos_off"])


@pytest.mark.parametrize("name", FACTS)
def test_points_learn_exactly_the_official_actions(name: str) -> None:
    facts, case = FACTS[name], np.load(GOLDEN / "labels.npz")
    targets = Targets(torch.from_numpy(case[f"{name}_segments"]), torch.from_numpy(case[f"{name}_labels"]))
    points = points_of(facts)
    assert len(points.steps) == facts["points"]
    (classes,), (offsets,) = assign_targets(points, [targets], facts["num_classes"], facts["radius"])
    check(classes, offsets, case, name)


@pytest.mark.parametrize("name", ["tiny_global", "anet_tsp_full", "thumos_short"])
def test_videos_of_a_batch_get_their_own_targets(name: str) -> None:
    case = load_case(name)
    config, train = case.config(), case.facts["train"]
    points = level_points(train["level_lengths"], config.strides, config.regression_ranges)
    classes, offsets = assign_targets(points, case.targets(), case.facts["model_args"]["num_classes"], 1.5)
    for row, video in enumerate(train["videos"]):
        real = torch.where(points.steps < video["T"], 1.0, 0.0)[:, None]
        check(classes[row] * real, offsets[row], case.arrays, f"train{row}")


def test_a_batch_without_any_action_is_background() -> None:
    classes, offsets = assign_targets(ONE_LEVEL, [Targets.none(), Targets.none()], 3, 1.5)
    assert classes.shape == (2, 16, 3)
    assert offsets.shape == (2, 16, 2)
    assert not classes.any()
    assert not offsets.any()


def test_a_point_on_the_border_of_an_action_is_outside() -> None:
    classes, _ = assign_targets(ONE_LEVEL, [Targets(torch.tensor([[4.0, 7.0]]), torch.tensor([0]))], 1)
    assert classes[0, :, 0].nonzero().flatten().tolist() == [5, 6]


def test_the_shortest_of_several_actions_is_learned_and_equally_short_ones_share_a_point() -> None:
    segments = torch.tensor([[0.0, 10.0], [3.0, 7.0], [3.0005, 7.0], [4.0, 8.0]])
    targets = Targets(segments, torch.tensor([0, 1, 2, 1]))
    classes, offsets = assign_targets(ONE_LEVEL, [targets], 3)
    assert classes[0, 5].tolist() == [0, 1, 1]
    torch.testing.assert_close(offsets[0, 5], torch.tensor([1.9995, 2.0]))
    assert classes[0, 1].tolist() == [1, 0, 0]


def test_an_action_without_length_is_never_learned() -> None:
    targets = Targets(torch.tensor([[4.5, 4.5], [6.0, 5.0]]), torch.tensor([0, 0]))
    assert not assign_targets(ONE_LEVEL, [targets], 1)[0].any()


def test_the_best_segments_come_first_and_ties_in_order() -> None:
    scores = torch.tensor([[0.5, 0.2], [0.001, 0.5], [0.9, 0.3]])
    segments = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 2.01]])
    found = longer(best_segments(scores, segments, score_threshold=0.001, max_kept=4), 0.05)
    assert found.labels.tolist() == [0, 1]
    assert found.segments.tolist() == [[0.0, 1.0], [1.0, 3.0]]
    assert len(longer(best_segments(scores, segments, score_threshold=0.95, max_kept=4), 0.05)) == 0


@pytest.mark.parametrize("most", [1, 7, 40, 200])
@pytest.mark.parametrize("cut", [1, 10, 59])
def test_the_best_of_two_parts_are_the_best_of_all_with_ties_in_order(most: int, cut: int) -> None:
    generator = torch.Generator().manual_seed(most + cut)
    scores = torch.randint(0, 8, (60, 3), generator=generator) / 8  # many are equal
    segments = torch.rand(60, 2, generator=generator)
    whole = best_segments(scores, segments, 0.2, most)
    earlier, later = (best_segments(scores[one], segments[one], 0.2, most) for one in (slice(cut), slice(cut, None)))
    both = best_of_both(earlier, later, most)
    for name in ("segments", "scores", "labels"):
        assert torch.equal(getattr(both, name), getattr(whole, name))
    assert both.cut_by == whole.cut_by == ({KEPT_PER_LEVEL} if (scores > 0.2).sum() > most else set())
