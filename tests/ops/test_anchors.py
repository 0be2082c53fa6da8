import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actloc.ops.anchors import (
    IGNORED,
    NO_ACTION,
    AnchorCriterion,
    AnchorOutputs,
    assign_anchors,
    decoded,
    level_anchors,
)
from actloc.structures import Targets

NEGATIVE, POSITIVE = 0.4, 0.6


def test_anchors_stand_on_every_position_and_grow_to_the_next_level() -> None:
    anchors = level_anchors([3, 2], [4, 8], 2.0, 2)
    narrow, wide = 8.0, 8.0 * 2**0.5
    expected = [[at - width / 2, at + width / 2] for at in (0, 4, 8) for width in (narrow, wide)]
    expected += [[at - width / 2, at + width / 2] for at in (0, 8) for width in (2 * narrow, 2 * wide)]
    torch.testing.assert_close(anchors, torch.tensor(expected))


def test_a_code_moves_the_centre_by_lengths_and_multiplies_the_length() -> None:
    anchors = torch.tensor([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]])
    codes = torch.tensor([[0.0, 0.0], [0.5, math.log(2)], [-1.0, 3.0]])
    found = decoded(anchors, codes, largest_growth=1.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, 4.0], [0.0, 8.0], [-2 - 2 * math.e, -2 + 2 * math.e]]))


def direct(anchors: list[tuple[int, int]], segments: list[tuple[int, int]]) -> list[int]:
    """The definition, one pair at a time; all overlaps are fractions of whole numbers."""

    def overlap(first: tuple[int, int], second: tuple[int, int]) -> float:
        shared = max(0, min(first[1], second[1]) - max(first[0], second[0]))
        return shared / ((first[1] - first[0]) + (second[1] - second[0]) - shared)

    assigned = []
    for anchor in anchors:
        overlaps = [overlap(anchor, segment) for segment in segments]
        best = max(overlaps)
        if best >= POSITIVE:
            assigned.append(overlaps.index(best))
        else:
            assigned.append(NO_ACTION if best < NEGATIVE else IGNORED)
    for number, segment in enumerate(segments):
        overlaps = [overlap(anchor, segment) for anchor in anchors]
        for place, found in enumerate(overlaps):
            if found == max(overlaps) > 0:
                assigned[place] = number
    return assigned


SEGMENTS = st.tuples(st.integers(0, 30), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(deadline=None, max_examples=300)
@given(st.lists(SEGMENTS, min_size=1, max_size=20), st.lists(SEGMENTS, min_size=1, max_size=4))
def test_anchors_learn_their_best_action_and_actions_have_their_best_anchors(
    anchors: list[tuple[int, int]], segments: list[tuple[int, int]]
) -> None:
    # in float64, where these fractions are equal exactly if they are equal in Python
    given = torch.tensor(anchors, dtype=torch.float64), torch.tensor(segments, dtype=torch.float64)
    assert assign_anchors(*given, NEGATIVE, POSITIVE).tolist() == direct(anchors, segments)


def test_without_actions_all_is_background_and_an_action_that_no_anchor_overlaps_is_learned_by_none() -> None:
    anchors = torch.tensor([[0.0, 4.0], [4.0, 8.0]])
    assert assign_anchors(anchors, torch.zeros(0, 2), NEGATIVE, POSITIVE).tolist() == [NO_ACTION] * 2
    assert assign_anchors(anchors, torch.tensor([[20.0, 24.0]]), NEGATIVE, POSITIVE).tolist() == [NO_ACTION] * 2
    assert assign_anchors(anchors, torch.tensor([[3.0, 3.0]]), NEGATIVE, POSITIVE).tolist() == [NO_ACTION] * 2


def outputs_of(codes: torch.Tensor, logits: torch.Tensor) -> AnchorOutputs:
    anchors = torch.tensor([[0.0, 4.0], [4.0, 8.0], [8.0, 12.0]])
    return AnchorOutputs(anchors, logits, codes, torch.full((len(codes),), 12), [3])


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_losses_are_divided_by_the_positive_anchors_of_the_step(weight: float) -> None:
    criterion = AnchorCriterion(
        torch.zeros(0, 2), 2, negative_tiou=NEGATIVE, positive_tiou=POSITIVE, loss_weight=weight
    ).train()
    outputs = outputs_of(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2))
    targets = [Targets(torch.tensor([[1.0, 4.0], [9.0, 12.0]]), torch.tensor([0, 1])), Targets.none()]
    assigned = criterion.assign(outputs.anchors, targets)
    assert assigned.num_samples == 2 + 1  # a video without actions counts as one
    positive, negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    distance = 1 - 3 / 4 + (0.5 / 4) ** 2
    for samples in (3, 12):
        losses = criterion(outputs, targets)
        assert losses["classification"].item() == pytest.approx((2 * positive + 10 * negative) / samples)
        assert losses["regression"].item() == pytest.approx(weight * 2 * distance / samples)
        criterion.start_step(12)
    criterion.eval()
    assert criterion(outputs, targets)["regression"].item() == pytest.approx(weight * 2 * distance / 3)


def test_ignored_anchors_cost_nothing() -> None:
    criterion = AnchorCriterion(torch.zeros(0, 2), 2, negative_tiou=NEGATIVE, positive_tiou=POSITIVE, loss_weight=1.0)
    logits = torch.zeros(1, 3, 2, requires_grad=True)
    anchors = torch.tensor([[0.0, 4.0], [1.0, 6.0], [0.0, 3.0]])  # overlaps with the action: 1/2, 1 and 1/3
    outputs = AnchorOutputs(anchors, logits, torch.zeros(1, 3, 2), torch.tensor([12]), [3])
    targets = [Targets(torch.tensor([[1.0, 6.0]]), torch.tensor([0]))]
    assert criterion.assign(anchors, targets).is_used.tolist() == [[False, True, True]]
    criterion(outputs, targets)["classification"].backward()
    assert logits.grad is not None
    assert (logits.grad[0] != 0).any(dim=1).tolist() == [False, True, True]
