"""What ETAD's losses count, also where only a part of a video is annotated."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from actloc.ops.cascade import (
    CascadeCriterion,
    CascadeOutputs,
    Stage,
    are_settled,
    as_parts,
    boundary_targets,
    in_steps,
    overlaps,
    thinned,
)
from actloc.structures import Targets


def test_as_many_others_as_positives_are_kept_on_average() -> None:
    draws = torch.rand(10000, generator=torch.Generator().manual_seed(0))
    chosen = torch.arange(10000) >= 2000
    for as_official in (False, True):
        kept = thinned(chosen, torch.tensor(2000), draws, as_official=as_official)
        assert not (kept & ~chosen).any()
        assert int(kept.sum()) == pytest.approx(2000, rel=0.1)


def test_where_positives_outnumber_the_others_only_the_official_balance_counts_them_twice() -> None:
    chosen, draws = torch.tensor([True, False, False, False]), torch.tensor([0.5, 0.5, 0.5, 0.5])
    assert thinned(chosen, torch.tensor(3), draws, as_official=False).tolist() == [True, False, False, False]
    assert thinned(chosen, torch.tensor(3), draws, as_official=True).all()
    nothing = torch.zeros(4, dtype=torch.bool)
    assert not thinned(nothing, torch.tensor(3), draws, as_official=False).any()
    assert thinned(nothing, torch.tensor(3), draws, as_official=True).all()


def test_the_two_balances_differ_where_all_candidates_are_actions() -> None:
    segments = torch.tensor([[[0.2, 0.6], [0.2, 0.61]]])
    outputs = CascadeOutputs(
        torch.full((1, 2, 10), 0.5), [Stage(segments, torch.full((1, 2, 4), 0.9), torch.zeros(1, 2, 4), segments)]
    )
    targets = [Targets(in_steps(torch.tensor([[0.2, 0.6]]), 10), torch.tensor([0]))]
    sane, official = (
        CascadeCriterion((0.7,), official_balance=official).with_draws(outputs, targets, torch.ones)
        for official in (False, True)
    )
    # sane: only log losses of 0.9 for candidates that are actions, and for their ends; the other terms by hand
    ious = overlaps(segments[0], segments[0, :1])
    growth = (0.4 / (segments[0, :, 1] - segments[0, :, 0])).log()
    change = (0.6 - segments[0, :, 1]) / (segments[0, :, 1] - segments[0, :, 0])
    offsets = 0.5 * (change**2 + (change / 2) ** 2 + growth**2)
    right = -torch.tensor(0.9).log()
    expected = right + 5 * ((0.9 - ious) ** 2).mean() + 10 * offsets.mean() + 0.5 * (right + right)
    torch.testing.assert_close(sane["stage_1"], expected, atol=1e-4, rtol=0)
    assert official["stage_1"] > sane["stage_1"] + 0.5


def test_segments_without_length_and_reversed_ones_overlap_nothing() -> None:
    segments = torch.tensor([[0.5, 0.5], [0.7, 0.3], [0.5, 0.5]])
    others = torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.2, 0.8]])
    assert overlaps(segments, others).tolist() == [0, 0, 0]
    assert overlaps(torch.tensor([0.0, 0.4]), torch.tensor([0.2, 0.6])).item() == pytest.approx(1 / 3)


def test_steps_are_centred_on_their_number() -> None:
    assert as_parts(torch.tensor([[-0.5, 9.5]]), 10).tolist() == [[0, 1]]
    near = boundary_targets(as_parts(torch.tensor([[2.0, 7.0]]), 10), 10)
    torch.testing.assert_close(near[0], torch.tensor([0, 1.0, 1, 1, 0, 0, 0, 0, 0, 0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(near[1], torch.tensor([0, 0.0, 0, 0, 0, 0, 1, 1, 1, 0]), atol=1e-4, rtol=0)
    assert not boundary_targets(torch.zeros(0, 2), 10).any()


INF = math.inf
STEPS = 10
ACTION = Targets(in_steps(torch.tensor([[0.2, 0.6]], dtype=torch.float64), STEPS), torch.tensor([0]))
# known are the parts 0 to 0.7 of the sequence
PARTLY = replace(ACTION, unlabelled=in_steps(torch.tensor([[-INF, 0.0], [0.7, INF]], dtype=torch.float64), STEPS))
PLACES = torch.tensor([[0.2, 0.6], [0.3, 0.7], [0.1, 0.3], [0.3, 0.8], [0.5, 0.9], [0.75, 0.9]], dtype=torch.float64)
KNOWN = [0, 1, 2, 3]  # the fourth has 1/2 of the action, and 1/5 beyond what is known


def outputs_at(places: Tensor, boundaries: Tensor, scores: Tensor) -> CascadeOutputs:
    offsets = torch.full((*places.shape[:2], 4), 0.1, dtype=torch.float64)
    return CascadeOutputs(boundaries, [Stage(places, scores, offsets, places)])


def drawn(places: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boundaries = torch.rand(len(places), 2, STEPS, dtype=torch.float64, generator=generator)
    return boundaries, torch.rand(*places.shape[:2], 4, dtype=torch.float64, generator=generator)


def losses_of(outputs: CascadeOutputs, targets: list[Targets], *, official: bool = False) -> dict[str, Tensor]:
    return CascadeCriterion((0.45,), official_balance=official).with_draws(
        outputs, targets, lambda n: torch.ones(n) / 3
    )


def test_candidates_are_settled_unless_an_unlisted_action_could_overlap_them_more_than_their_own() -> None:
    ious = overlaps(PLACES, as_parts(ACTION.segments[0], STEPS))
    assert PARTLY.unlabelled is not None
    unlabelled = as_parts(PARTLY.unlabelled, STEPS)
    assert are_settled(PLACES[None], ious[None], [unlabelled]).tolist() == [[number in KNOWN for number in range(6)]]
    assert are_settled(PLACES[None], ious[None], [None]).all()
    reversed_ones = torch.tensor([[[0.95, 0.9], [0.8, 0.8]]], dtype=torch.float64)
    assert are_settled(reversed_ones, torch.zeros(1, 2), [unlabelled]).all()


def test_the_loss_of_a_partly_annotated_video_is_that_of_its_known_steps_and_candidates_by_hand() -> None:
    places = PLACES[[0, 3, 4, 5]][None]
    boundaries = torch.full((1, 2, STEPS), 0.25, dtype=torch.float64)
    boundaries[..., 7:] = 0.99  # nobody knows about these steps
    scores = torch.full((1, 4, 4), 0.25, dtype=torch.float64)
    scores[0, 2:] = 0.99  # nor about these candidates
    found = losses_of(outputs_at(places, boundaries, scores), [PARTLY])
    right, wrong = -math.log(0.25), -math.log(0.75)
    # steps 1 and 2 are near the start, 5 and 6 near the end
    assert found["boundaries"].item() == pytest.approx(2 * (0.5 * right + 0.5 * wrong), rel=1e-4)
    # draws of 1/3 keep the other one of two candidates where there is one positive: 1/3 is above 1 - 1/1
    iou_class = (right + wrong) / 2
    ious = torch.tensor([1.0, 0.5], dtype=torch.float64)
    iou_value = ((0.25 - ious) ** 2).mean()
    wanted = torch.tensor([[0.0, 0, 0, 0], [-0.2, -0.4, -0.3, math.log(0.8)]], dtype=torch.float64)
    offsets = 0.5 * ((0.1 - wanted) ** 2).sum() / 2
    start = (right + wrong) / 2  # 0.2 is a start, 0.3 is none
    end = right  # 0.6 is one, and it is not known of 0.8
    expected = iou_class + 5 * iou_value + 10 * offsets + 0.5 * (start + end)
    assert found["stage_1"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("official", [False, True])
def test_what_is_predicted_outside_the_annotated_time_changes_neither_loss_nor_gradient(official: bool) -> None:
    places = PLACES.expand(2, -1, -1)
    found = []
    for seed in (0, 1):
        boundaries, scores = drawn(places)
        others = drawn(places, seed)
        boundaries[0, :, 7:] = others[0][0, :, 7:]
        scores[0, 4:] = others[1][0, 4:]
        boundaries.requires_grad_()
        scores.requires_grad_()
        losses = losses_of(outputs_at(places, boundaries, scores), [PARTLY, ACTION], official=official)
        torch.stack(list(losses.values())).sum().backward()
        assert boundaries.grad is not None
        assert scores.grad is not None
        assert (boundaries.grad[0, :, 7:] == 0).all()
        assert (boundaries.grad[0, :, :7] != 0).all()
        assert (boundaries.grad[1] != 0).all()
        assert (scores.grad[0, 4:] == 0).all()
        assert (scores.grad[0, KNOWN].abs().sum(dim=1) > 0).all()
        assert (scores.grad[1, 4:].abs().sum(dim=1) > 0).any()
        found.append((losses, boundaries.grad, scores.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


@pytest.mark.parametrize("official", [False, True])
def test_a_batch_of_which_nothing_is_known_has_no_loss_and_one_that_is_known_whole_the_usual_one(
    official: bool,
) -> None:
    places = PLACES[[4, 5]][None]
    boundaries, scores = (one.requires_grad_() for one in drawn(places))
    everything = torch.tensor([[-INF, INF]], dtype=torch.float64)
    nothing = Targets(ACTION.segments[:0], ACTION.labels[:0], everything)
    losses = losses_of(outputs_at(places, boundaries, scores), [nothing], official=official)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total == 0
    assert scores.grad is not None
    assert not scores.grad.any()
    whole = replace(ACTION, unlabelled=torch.zeros(0, 2, dtype=torch.float64))
    usual, same = (losses_of(outputs_at(places, boundaries, scores), [one]) for one in (ACTION, whole))
    assert usual == same
