"""Which windows are chosen, in cases worked out by hand."""

import numpy as np
import pytest

from actloc.localization.suggesting.choosing import Choice, chosen, rank, standardised


def choose(
    features: list[list[float]],
    *,
    uncertainty: list[float] | None = None,
    disagreement: list[float] | None = None,
    annotated: list[list[float]],
    lengths_s: list[float] | None = None,
    budget_s: float = 1000.0,
) -> list[Choice]:
    number = len(features)
    return chosen(
        np.array(features),
        np.array(lengths_s or [10.0] * number),
        np.array(uncertainty or [0.0] * number),
        np.array(disagreement or [0.0] * number),
        np.array(annotated).reshape(-1, len(features[0])),
        budget_s,
    )


def order(found: list[Choice]) -> list[int]:
    return [one.index for one in found]


def test_without_doubts_each_choice_is_the_furthest_from_all_that_is_known() -> None:
    # annotated at 0 and 1; 10 is the furthest, then 6 is 4 from 10, 3 is 2 from 1, and 9 is 1 from 10
    found = choose([[3.0], [6.0], [9.0], [10.0]], annotated=[[0.0], [1.0]])
    assert order(found) == [3, 1, 0, 2]
    # the usual distance is that between the two annotated windows, so a distance of 9 counts 9 / (9 + 1)
    assert found[0].distance == pytest.approx(9.0)
    assert found[0].novelty == pytest.approx(0.9)
    assert found[0].value == pytest.approx(0.45)
    assert [one.distance for one in found[1:]] == pytest.approx([4.0, 2.0, 1.0])


def test_among_alike_windows_the_most_doubtful_come_first() -> None:
    alike = [[1.0]] * 4
    found = choose(alike, uncertainty=[0.1, 0.4, 0.2, 0.3], annotated=[[1.0], [0.0]])
    assert order(found) == [1, 3, 2, 0]
    assert [one.doubt for one in found] == [0.75, 0.5, 0.25, 0.0]
    assert all(one.novelty == 0 for one in found)


def test_uncertainty_and_disagreement_count_the_same() -> None:
    found = choose(
        [[1.0]] * 3, uncertainty=[0.9, 0.5, 0.1], disagreement=[0.2, 0.9, 0.1], annotated=[[1.0], [0.0]], budget_s=10
    )
    # ranks 2/3 + 1/3, 1/3 + 2/3 and 0: the first of the two equal ones
    assert order(found) == [0]
    assert (found[0].uncertainty_rank, found[0].disagreement_rank) == pytest.approx((2 / 3, 1 / 3))


def test_a_copy_of_a_chosen_window_waits_for_other_footage() -> None:
    features = [[5.0], [5.0], [-2.0]]
    found = choose(features, uncertainty=[0.9, 0.9, 0.0], annotated=[[0.0], [1.0]])
    # both copies are doubtful (rank 1/3) and far; after one is chosen, the other's novelty is 0: 1/6 against 1/3
    assert order(found) == [0, 2, 1]
    assert found[2].value == pytest.approx(1 / 6)


def test_the_budget_is_never_passed_and_shorter_windows_fill_it() -> None:
    found = choose([[9.0], [8.0], [3.0], [2.0]], annotated=[[0.0], [1.0]], lengths_s=[30, 30, 30, 10], budget_s=45)
    assert order(found) == [0, 3]
    assert not choose([[9.0]], annotated=[[0.0]], budget_s=9.9)
    # 0.1 + 0.2 seconds are more than 0.3 in binary numbers
    assert len(choose([[9.0], [8.0]], annotated=[[0.0]], lengths_s=[0.1, 0.2], budget_s=0.3)) == 2


def test_nothing_annotated_and_nothing_to_choose_from() -> None:
    found = choose([[0.0], [1.0], [5.0]], annotated=[])
    assert found[0].index == 0
    assert np.isinf(found[0].distance)
    assert found[0].novelty == 1
    assert found[1].index == 2
    assert chosen(np.zeros((0, 3)), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((2, 3)), 60.0) == []


def test_channels_of_any_scale_count_the_same_and_constant_ones_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((8, 3))
    scaled = rows * [1.0, 1000.0, 0.001] + [5.0, 0.0, -3.0]
    own, known = standardised(rows[:5], rows[5:])
    other, others = standardised(scaled[:5], scaled[5:])
    assert np.allclose(own, other)
    assert np.allclose(known, others)
    constant, _ = standardised(np.full((4, 2), 0.1), np.full((3, 2), 0.1))
    assert (constant == 0).all()


def test_many_windows_are_chosen_as_by_the_plain_rule() -> None:
    generator = np.random.default_rng(1)
    features, annotated = generator.standard_normal((700, 4)), generator.standard_normal((600, 4))
    doubts = generator.random(700)
    found = chosen(features, np.full(700, 30.0), doubts, np.zeros(700), annotated, 300.0)
    own, known = standardised(features, annotated)

    def nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        listed: np.ndarray = np.linalg.norm(rows[:, None] - others[None], axis=2)
        return listed

    between = nearest(known, known) + np.diag(np.full(600, np.inf))
    usual, distances = np.median(between.min(axis=1)), nearest(own, known).min(axis=1)
    expected: list[int] = []
    while len(expected) < 10:
        value = distances / (distances + usual) + rank(rank(doubts))
        value[expected] = -1
        expected.append(int(value.argmax()))
        distances = np.minimum(distances, np.linalg.norm(own - own[expected[-1]], axis=1))
    assert order(found) == expected


def test_ranks_ignore_less_than_hundredths() -> None:
    assert rank(np.array([0.5, 0.1, 0.501, 0.9])).tolist() == [0.25, 0.0, 0.25, 0.75]
