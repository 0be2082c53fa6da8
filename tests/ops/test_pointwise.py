import math
from dataclasses import replace

import pytest
import torch

from actloc.ops.losses import distance_iou_loss, iou_around_point, sigmoid_focal_loss
from actloc.ops.points import Points, level_points
from actloc.ops.pointwise import Assignment, PointCriterion, PointOutputs, select_points
from actloc.structures import Targets

STRIDES, RANGES = [1, 2], [(0.0, 4.0), (4.0, 100.0)]
CLASSES = torch.zeros(1, 6, 2)
CLASSES[0, 1, 0] = CLASSES[0, 4, 1] = 1
WEIGHTS = torch.tensor([[9.0, 0.5, 9.0, 9.0, 2.0, 9.0]])
TARGET_OFFSETS = torch.ones(1, 6, 2)


def outputs() -> PointOutputs:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, True, False, True, False]])
    logits = torch.randn(1, 6, 2, generator=generator) * mask[..., None]
    offsets = torch.rand(1, 6, 2, generator=generator)
    return PointOutputs(level_points([4, 2], STRIDES, RANGES), logits.requires_grad_(), offsets, mask, [4, 2])


def criterion(assignment: Assignment, loss_weight: float = 3.0) -> PointCriterion:
    return PointCriterion(
        lambda points, targets, outputs: assignment,
        STRIDES,
        RANGES,
        label_smoothing=0.0,
        loss_weight=loss_weight,
        initial_normaliser=10.0,
    )


def test_positive_points_count_by_their_weight_and_real_background_by_one() -> None:
    found = outputs()
    losses = criterion(Assignment(CLASSES, TARGET_OFFSETS, WEIGHTS))(found, [Targets.none()])
    normaliser = 0.9 * 10 + 0.1 * (0.5 + 2.0)
    focal = sigmoid_focal_loss(found.logits, CLASSES).sum(dim=2)[0]
    expected = focal[0] + 0.5 * focal[1] + focal[2] + 2.0 * focal[4]
    torch.testing.assert_close(losses["classification"], expected / normaliser)
    distances = distance_iou_loss(found.offsets, TARGET_OFFSETS)[0]
    torch.testing.assert_close(losses["regression"], 3 * (0.5 * distances[1] + 2 * distances[4]) / normaliser)


def test_a_weight_of_zero_or_less_makes_the_losses_equally_large() -> None:
    losses = criterion(Assignment(CLASSES, TARGET_OFFSETS), loss_weight=0.0)(outputs(), [Targets.none()])
    torch.testing.assert_close(losses["classification"], losses["regression"])


def test_each_class_of_a_point_counts_and_its_borders_weigh_its_score_with_a_gradient() -> None:
    found, losses = outputs(), criterion(Assignment(CLASSES, TARGET_OFFSETS))
    losses.counts_pairs, losses.iou_power = True, 0.25
    offsets = found.offsets.clone().requires_grad_()
    found = replace(found, offsets=offsets)
    both = losses(found, [Targets.none()])
    pairs = [(0, point, label) for point, label in (CLASSES[0] * found.mask[0, :, None]).nonzero().tolist()]
    iou = torch.stack([iou_around_point(offsets[0, point], TARGET_OFFSETS[0, point]) for _, point, _ in pairs])
    factors = found.mask[..., None].float().expand_as(CLASSES).clone()
    for pair, factor in zip(pairs, iou**0.25, strict=True):
        factors[pair] = factor
    normaliser = losses.normaliser
    expected = (sigmoid_focal_loss(found.logits, CLASSES) * factors).sum() / normaliser
    torch.testing.assert_close(both["classification"], expected)
    (gradient,) = torch.autograd.grad(both["classification"], offsets, retain_graph=True)
    assert gradient.abs().sum() > 0
    distances = [distance_iou_loss(offsets[0, point], TARGET_OFFSETS[0, point]) for _, point, _ in pairs]
    torch.testing.assert_close(both["regression"], 3 * torch.stack(distances).sum() / normaliser)


def test_a_segment_that_misses_its_action_has_a_finite_gradient() -> None:
    losses = criterion(Assignment(CLASSES, TARGET_OFFSETS))
    losses.counts_pairs, losses.iou_power = True, 0.2
    offsets = torch.zeros_like(TARGET_OFFSETS).requires_grad_()
    both = losses(replace(outputs(), offsets=offsets), [Targets.none()])
    (gradient,) = torch.autograd.grad(both["classification"] + both["regression"], offsets)
    assert gradient.isfinite().all()


def test_what_points_learn_may_depend_on_the_outputs() -> None:
    seen = []

    def assign(points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        seen.append(outputs)
        return Assignment(CLASSES, TARGET_OFFSETS)

    found, losses = outputs(), criterion(Assignment(CLASSES, TARGET_OFFSETS))
    losses.assign = assign
    losses(found, [Targets.none()])
    assert seen == [found]


def test_the_normaliser_moves_at_each_call_in_training_until_steps_are_announced() -> None:
    losses = criterion(Assignment(CLASSES, TARGET_OFFSETS))
    losses.eval()(outputs(), [Targets.none()])
    assert losses.training_state() == {"normaliser": 10.0}
    losses.train()(outputs(), [Targets.none()])
    assert losses.training_state() == {"normaliser": pytest.approx(0.9 * 10 + 0.1 * 2)}
    losses.load_training_state({"normaliser": 10.0})
    losses.start_step(0.0)  # a step without positive points counts one
    losses(outputs(), [Targets.none()])
    assert losses.training_state() == {"normaliser": pytest.approx(0.9 * 10 + 0.1 * 1)}


def test_the_weight_of_a_batch_is_the_number_of_positive_points_of_its_real_steps() -> None:
    def assign(points: Points, targets: list[Targets], outputs: PointOutputs | None) -> Assignment:
        assert outputs is None
        return Assignment(torch.ones(2, len(points.steps), 1), torch.zeros(2, len(points.steps), 2))

    losses = criterion(Assignment(CLASSES, TARGET_OFFSETS))
    losses.assign = assign
    # points at 0 ... 4 and 0, 2, 4 of the first video, at 0, 1 and 0 of the second
    assert losses.weight_of([5, 2], [Targets.none(), Targets.none()]) == 5 + 3 + 2 + 1


def test_segments_are_selected_level_by_level_and_only_of_real_points() -> None:
    found = outputs()
    (detections,) = select_points(found, score_threshold=0.0, kept_per_level=1, shortest_steps=0.0)
    scores = found.logits[0].sigmoid().amax(dim=1) * found.mask[0]
    best = [int(scores[:4].argmax()), 4 + int(scores[4:].argmax())]
    torch.testing.assert_close(detections.scores, scores[best])
    steps, strides = found.points.steps[best], found.points.strides[best]
    reach = found.offsets[0, best] * strides[:, None]
    torch.testing.assert_close(detections.segments, torch.stack((steps - reach[:, 0], steps + reach[:, 1]), dim=1))
    assert len(select_points(found, 0.0, 9, math.inf)[0]) == 0
