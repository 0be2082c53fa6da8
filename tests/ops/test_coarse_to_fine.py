import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.ops.coarse_to_fine import (
    CoarsePoints,
    CoarseToFineCriterion,
    CoarseToFineOutputs,
    assign_points,
    boundary_maps,
)
from actloc.structures import Targets

POINTS = CoarsePoints(
    torch.tensor([2.0, 6.0, 10.0, 14.0, 4.0, 12.0]),
    torch.tensor([0.0] * 4 + [4.0] * 2),
    torch.tensor([4.0] * 4 + [16.0] * 2),
)
"""16 steps: four points that learn borders up to 4 steps away, two that learn those from there on."""
NUM_CLASSES, CHANNELS, STEPS = 3, 4, 16


def targets(*actions: tuple[float, float, int]) -> Targets:
    return Targets(torch.tensor([row[:2] for row in actions]), torch.tensor([row[2] for row in actions]))


VIDEOS = [targets((1.0, 5.0, 2), (8.0, 15.0, 0)), targets((5.0, 7.0, 1)), Targets.none()]


def drawn_outputs(num_videos: int) -> CoarseToFineOutputs:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    num_points = len(POINTS.centers)
    return CoarseToFineOutputs(
        POINTS,
        (0.5 * draw(num_videos, num_points, 2)).exp() * 2,
        draw(num_videos, num_points, 2),
        0.3 * draw(num_videos, num_points, 2),
        draw(num_videos, num_points, 2),
        draw(num_videos, num_points),
        draw(num_videos, 1 + NUM_CLASSES),
        tuple(draw(num_videos, CHANNELS, length).relu() for length in (32, 4, 4)),
    )


def test_a_point_learns_the_shortest_action_that_it_is_in_and_whose_farther_border_is_in_its_range() -> None:
    video = targets((2.0, 5.0, 0), (0.0, 16.0, 1), (9.0, 14.0, 0))
    found = assign_points(POINTS, [video], torch.ones(1, 6, 2), refined_tiou=0.6)
    # the first point is on the border of the first action; that of the third point is exactly 4 steps away
    assert found.positive.tolist() == [[True, False, True, False, True, True]]
    distances = [[0, 3], [1, 4], [4, 12], [12, 4]]
    assert found.distances[found.positive].tolist() == distances
    # exactly 4 steps away are borders of the first level alone
    edge = assign_points(POINTS, [targets((0.0, 8.0, 0))], torch.ones(1, 6, 2), refined_tiou=0.6)
    assert edge.positive.tolist() == [[False, False, False, False, False, False]]


def test_refined_are_segments_that_overlap_enough_or_the_best_of_the_video() -> None:
    video, coarse = targets((0.0, 16.0, 0)), torch.ones(1, 6, 2)
    best_alone = assign_points(POINTS, [video], coarse, refined_tiou=0.6)
    assert best_alone.positive.tolist() == [[False] * 4 + [True] * 2]
    assert best_alone.refined.tolist() == best_alone.positive.tolist()  # both overlap by 2 of 16 steps
    coarse[0, 4] = torch.tensor([4.0, 6.0])
    assert assign_points(POINTS, [video], coarse, 0.6).refined.tolist() == [[False] * 4 + [True, False]]
    coarse[0, 5] = torch.tensor([12.0, 1.0])
    assert assign_points(POINTS, [video], coarse, 0.6).refined.tolist() == [[False] * 4 + [True, True]]
    assert assign_points(POINTS, [video], coarse, 0.7).refined.tolist() == [[False] * 4 + [False, True]]
    nothing = assign_points(POINTS, [Targets.none()], coarse, 0.6)
    assert not nothing.positive.any()
    assert not nothing.refined.any()


def test_boundaries_are_bands_a_tenth_of_the_action_wide_and_at_least_two_positions() -> None:
    starts, ends = boundary_maps(targets((4.0, 8.0, 0), (2.0, 22.0, 1)), 48, 2.0)
    # starts at positions 8 and 4, lasting 8 and 40: half a band is 1 and 2 positions
    assert starts.nonzero().flatten().tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert ends.nonzero().flatten().tolist() == [15, 16, 17, 42, 43, 44, 45, 46]
    assert not boundary_maps(Targets.none(), 48, 2.0).any()


def expected_losses(outputs: CoarseToFineOutputs, video: int, target: Targets) -> dict[str, float]:
    """The losses of one video, point by point as the paper and its code define them."""
    assigned = assign_points(POINTS, [target], outputs.distances[video : video + 1], 0.6)
    positive, refined = assigned.positive[0].nonzero().flatten(), assigned.refined[0].nonzero().flatten()
    count, refined_count = max(len(positive), 1), max(len(refined), 1)
    sums = dict.fromkeys(("distances", "confidence", "correction", "refined_confidence", "quality"), 0.0)

    def overlap(found: Tensor, wanted: Tensor) -> float:
        (left, right), (true_left, true_right) = found.tolist(), wanted.tolist()
        shared = min(left, true_left) + min(right, true_right)
        return shared / (left + right + true_left + true_right - shared)

    def focal(logits: Tensor, is_action: bool) -> float:
        chance = logits.softmax(dim=0)[int(is_action)].item() + 1e-6
        return -(0.75 if is_action else 0.25) * (1 - chance) ** 2 * math.log(chance)

    for point in range(len(POINTS.centers)):
        coarse, correction = outputs.distances[video, point], outputs.corrections[video, point]
        wanted, half = assigned.distances[0, point], 0.5 * coarse.sum()
        sums["confidence"] += focal(outputs.logits[video, point], point in positive) / count
        sums["refined_confidence"] += focal(outputs.refined_logits[video, point], point in refined) / refined_count
        if point in positive:
            sums["distances"] += (1 - overlap(coarse, wanted)) / count
            tiou = max(overlap(coarse + half * correction, wanted), 0)
            quality = torch.sigmoid(outputs.quality_logits[video, point]).item()
            sums["quality"] -= (tiou * math.log(quality) + (1 - tiou) * math.log(1 - quality)) / count
        if point in refined:
            sums["correction"] += (
                F.smooth_l1_loss(correction, (wanted - coarse) / half, reduction="sum") / refined_count
            )
    fine, *others = outputs.boundary_features
    for row, name in enumerate(("starts", "ends")):
        sums[name] = 0.0
        for features, weight, every in ((fine, 1, 1), *((one, 0.1, 8) for one in others)):
            found = features[video].chunk(2)[row].tanh().mean(dim=0)
            on = boundary_maps(target, 32, 2.0)[row, ::every].double()
            sums[name] += weight * F.binary_cross_entropy(found, on).item()
    first = target.labels[0].item() + 1 if len(target.labels) else 0
    sums["video_class"] = -outputs.class_logits[video].log_softmax(dim=0)[first].item()
    return {name: float(value) for name, value in sums.items()}


def test_losses_are_those_of_each_video_averaged() -> None:
    outputs = drawn_outputs(len(VIDEOS))
    found = CoarseToFineCriterion(0.6, STEPS)(outputs, VIDEOS)
    by_video = [expected_losses(outputs, number, target) for number, target in enumerate(VIDEOS)]
    for name, loss in found.items():
        assert loss.item() == pytest.approx(sum(one[name] for one in by_video) / len(VIDEOS), rel=1e-9), name
    assert found.keys() == by_video[0].keys()


def test_once_a_step_is_announced_losses_are_averaged_over_all_its_videos_in_training() -> None:
    outputs, criterion = drawn_outputs(len(VIDEOS)), CoarseToFineCriterion(0.6, STEPS)
    alone = criterion(outputs, VIDEOS)
    assert criterion.weight_of([STEPS] * 3, VIDEOS) == 3
    criterion.start_step(6.0)
    for name, loss in criterion(outputs, VIDEOS).items():
        assert loss.item() == pytest.approx(alone[name].item() / 2)
    criterion.eval()
    for name, loss in criterion(outputs, VIDEOS).items():
        assert loss.item() == pytest.approx(alone[name].item())
