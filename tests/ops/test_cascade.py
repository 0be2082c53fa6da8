import pytest
import torch

from actloc.ops.cascade import (
    CascadeCriterion,
    CascadeOutputs,
    Stage,
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
