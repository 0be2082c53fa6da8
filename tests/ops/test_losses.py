import math

import torch

from actloc.ops.losses import distance_iou_loss, segment_iou_loss, sigmoid_focal_loss


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


def test_the_loss_of_segments_is_that_of_their_distances_from_a_common_point() -> None:
    offsets, targets = (
        torch.tensor([[2.0, 3.0], [1.0, 1.0], [0.0, 4.0]]),
        torch.tensor([[2.0, 3.0], [2.0, 2.0], [4, 0]]),
    )
    segments, theirs = (torch.stack((7 - pair[:, 0], 7 + pair[:, 1]), dim=1) for pair in (offsets, targets))
    torch.testing.assert_close(segment_iou_loss(segments, theirs), distance_iou_loss(offsets, targets))


def test_a_segment_apart_from_its_target_is_pulled_towards_it_and_an_empty_one_has_a_finite_loss() -> None:
    segments = torch.tensor([[0.0, 2.0], [5.0, 5.0]], requires_grad=True)
    loss = segment_iou_loss(segments, torch.tensor([[6.0, 8.0], [5.0, 5.0]]))
    torch.testing.assert_close(loss.detach(), torch.tensor([1 + (6 / 8) ** 2, 1.0]))
    loss.sum().backward()
    assert segments.grad is not None
    assert segments.grad.isfinite().all()
    assert segments.grad[0].sum() < 0
