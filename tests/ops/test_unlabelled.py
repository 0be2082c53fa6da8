"""Losses and windows ignore the time of a video that is not annotated."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from actloc.ops.anchors import AnchorCriterion, AnchorOutputs
from actloc.ops.coarse_to_fine import CoarseToFineCriterion
from actloc.ops.points import assign_targets, level_points
from actloc.ops.pointwise import Assignment, PointCriterion, PointOutputs
from actloc.ops.windows import WindowRules, random_window
from actloc.structures import Targets
from tests.ops.test_coarse_to_fine import drawn_outputs

INF = float("inf")
ACTION = Targets(torch.tensor([[2.0, 6.0]]), torch.tensor([1]))
PARTLY = replace(ACTION, unlabelled=torch.tensor([[-INF, 0.0], [8.0, 12.0], [14.5, INF]]))
STRIDES, RANGES = [1, 2], [(0.0, 4.0), (4.0, 100.0)]


def point_losses(
    logits: Tensor, targets: list[Targets], iou_power: float | None
) -> tuple[dict[str, Tensor], PointCriterion]:
    criterion = PointCriterion(
        lambda points, them, _: Assignment(*assign_targets(points, them, 2)),
        STRIDES,
        RANGES,
        label_smoothing=0.1,
        loss_weight=1.0,
        initial_normaliser=10.0,
        counts_pairs=iou_power is not None,
        iou_power=iou_power or 0.0,
    )
    points = level_points([16, 8], STRIDES, RANGES)
    offsets = torch.ones(len(targets), 24, 2, dtype=torch.float64)
    mask = torch.ones(len(targets), 24, dtype=torch.bool)
    return criterion(PointOutputs(points, logits, offsets, mask, [16, 8]), targets), criterion


@pytest.mark.parametrize("iou_power", [None, 0.0, 0.2])
def test_points_outside_the_annotated_time_have_no_gradient_and_all_others_keep_theirs(iou_power: float | None) -> None:
    start = torch.randn(2, 24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients, normalisers = [], []
    for targets in ([PARTLY, ACTION], [ACTION, ACTION]):
        logits = start.clone().requires_grad_()
        losses, criterion = point_losses(logits, targets, iou_power)
        losses["classification"].backward()
        assert logits.grad is not None
        gradients.append(logits.grad)
        normalisers.append(criterion.normaliser)
    ignored = [9, 10, 11, 15, 16 + 5]  # of both levels; a border counts as annotated
    partly, whole = gradients
    assert (partly[0, ignored] == 0).all()
    assert (whole[0, ignored] != 0).all()
    rest = torch.ones(2, 24, dtype=torch.bool)
    rest[0, ignored] = False
    assert torch.equal(partly[rest], whole[rest])
    assert normalisers[0] == normalisers[1]


def test_anchors_outside_have_no_gradient() -> None:
    anchors = torch.tensor([[0.0, 2.0], [2.0, 6.0], [9.0, 11.0], [12.0, 14.0], [7.0, 13.0]])
    logits = torch.zeros(1, 5, 2, dtype=torch.float64, requires_grad=True)
    criterion = AnchorCriterion(anchors, 2, negative_tiou=0.4, positive_tiou=0.6, loss_weight=1.0)
    outputs = AnchorOutputs(anchors, logits, torch.zeros(1, 5, 2), torch.tensor([16]), [5])
    criterion(outputs, [PARTLY])["classification"].backward()
    assert logits.grad is not None
    assert [bool((row != 0).all()) for row in logits.grad[0]] == [True, True, False, True, False]


def test_points_and_boundaries_of_afsd_outside_have_no_gradient_nor_has_the_class_of_partial_background() -> None:
    outputs = drawn_outputs(2)
    logits = outputs.logits.detach().requires_grad_()
    classes = outputs.class_logits.detach().requires_grad_()
    fine = [one.detach().requires_grad_() for one in outputs.boundary_features]
    changed = replace(outputs, logits=logits, class_logits=classes, boundary_features=tuple(fine))
    end = float(outputs.points.centers.median())
    background = replace(Targets.none(), unlabelled=torch.tensor([[end, INF]]))
    criterion = CoarseToFineCriterion(0.5, 16)
    sum(criterion(changed, [background, Targets.none()]).values(), torch.zeros(())).backward()
    assert logits.grad is not None
    assert classes.grad is not None
    assert fine[0].grad is not None
    outside = outputs.points.centers > end
    assert (logits.grad[0, outside] == 0).all()
    assert (logits.grad[0, ~outside] != 0).all()
    assert (logits.grad[1] != 0).all()
    assert (classes.grad[0] == 0).all()
    assert (classes.grad[1] != 0).all()
    steps = torch.arange(fine[0].shape[2]) * 16 / fine[0].shape[2]
    assert (fine[0].grad[0][:, steps > end] == 0).all()
    assert (fine[0].grad[0][:, steps <= end] != 0).any()


@pytest.mark.parametrize("may_be_empty", [False, True])
def test_windows_without_annotated_time_are_not_drawn(may_be_empty: bool) -> None:
    unlabelled = torch.tensor([[-INF, 80.0], [90.0, INF]])
    rules = WindowRules(max_steps=10, crop_ratio=None, min_kept=0.5, may_be_empty=may_be_empty)
    generator = random.Random(0)
    background = replace(Targets.none(), unlabelled=unlabelled)
    one = replace(Targets(torch.tensor([[82.0, 85.0]]), torch.tensor([0])), unlabelled=unlabelled)
    for targets in (background, one):
        starts = []
        for _ in range(200):
            start, length, kept = random_window(200, targets, generator, offset_steps=0.5, rules=rules)
            assert kept.unlabelled is not None
            assert torch.equal(kept.unlabelled, unlabelled - start)
            assert not kept.is_unlabelled(torch.arange(length)).all()
            starts.append(start)
        assert min(starts) >= 71
        assert max(starts) <= 90


def test_fully_annotated_videos_draw_the_same_windows_as_ever() -> None:
    rules = WindowRules(max_steps=10, crop_ratio=None, min_kept=0.5, may_be_empty=True)
    generator, expected = random.Random(5), random.Random(5)
    for targets in (ACTION, Targets.none()):
        assert random_window(200, targets, generator, offset_steps=0.5, rules=rules)[0] == expected.randint(0, 190)
