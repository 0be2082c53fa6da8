import math

import torch

from actloc.ops.losses import distance_iou_loss, sigmoid_focal_loss


def test_the_focal_loss_of_a_known_score() -> None:
    loss = sigmoid_focal_loss(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([1.0, 0.0, 0.25]))
    p = 1 / (1 + math.exp(-3.0))
    entropy = -0.25 * math.log(p) - 0.75 * math.log(1 - p)
    missed = 1 - (p * 0.25 + (1 - p) * 0.75)
    expected = [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2), 0.625 * entropy * missed**2]
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_a_perfect_segment_costs_nothing_and_a_far_one_more_than_one() -> None:
    offsets = torch.tensor([[2.0, 3.0], [1.0, 1.0], [0.0, 4.0]])
    targets = torch.tensor([[2.0, 3.0], [2.0, 2.0], [4.0, 0.0]])
    torch.testing.assert_close(distance_iou_loss(offsets, targets), torch.tensor([0.0, 0.5, 1.25]))


def test_empty_segments_have_a_finite_loss_and_gradient() -> None:
    offsets = torch.zeros(1, 2, requires_grad=True)
    loss = distance_iou_loss(offsets, torch.zeros(1, 2))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert offsets.grad is not None
    assert offsets.grad.isfinite().all()
