"""Which windows are chosen, in cases worked out by hand."""

import numpy as np
import pytest

from actloc.localization.suggesting import choosing
from actloc.localization.suggesting.choosing import Annotated, Choice, Unlabelled, chosen, rank, standardised


def choose(
    features: list[list[float]],
    *,
    uncertainty: list[float] | None = None,
    disagreement: list[float] | None = None,
    annotated: list[list[float]],
    lengths_s: list[float] | None = None,
    budget_s: float = 1000.0,
    videos: str = "abcdefgh",
    annotated_videos: str = "",
    expected: list[list[float]] | None = None,
    actions: tuple[float, ...] = (0.0,),
) -> list[Choice]:
    """No action is expected anywhere, unless the test says so."""
    number = len(features)
    own = Unlabelled(
        np.array(features),
        np.array(lengths_s or [10.0] * number),
        list(videos[:number]),
        np.array(expected or [[0.0] * len(actions)] * number),
        np.array(uncertainty or [0.0] * number),
        np.array(disagreement or [0.0] * number),
    )
    known = Annotated(np.array(annotated).reshape(-1, len(features[0])), annotated_videos, np.array(actions))
    return chosen(own, known, budget_s)


def order(found: list[Choice]) -> list[int]:
    return [one.index for one in found]


def test_typical_footage_comes_before_the_furthest() -> None:
    found = choose([[20.0], [4.0], [5.0], [5.0], [5.0], [6.0]], annotated=[[0.0]], budget_s=20)
    # 5 takes off 3 + 5 + 5 + 5 + (6 - 1) + (20 - 15) = 28, and 20 its own distance only, of which 15 are left then
    assert order(found) == [2, 0]
    # one of seven windows is annotated: doubt, of which there is none, has a seventh of the weight
    assert [one.value for one in found] == pytest.approx([6 / 7, 6 / 7])
    assert all(one.balance == 0 and one.scarcest is None for one in found)
    assert [one.nearest_s for one in found] == [60.0, 10.0]


def test_coverage_is_in_shares_of_the_most() -> None:
    found = choose([[-10.0], [6.0]], uncertainty=[0.0, 1.0], annotated=[[0.0]] * 10)
    # 6 of 10, and its rank of uncertainty is 1/2: 0.3 + 0.25 against 0.5 + 0
    assert order(found) == [1, 0]
    assert (found[0].coverage, found[0].value) == pytest.approx((0.6, 0.55))


def test_doubt_counts_for_less_where_little_is_annotated() -> None:
    # the same with one of three windows annotated: 2/3 * 0.6 + 1/3 * 0.5 against 2/3
    found = choose([[-10.0], [6.0]], uncertainty=[0.0, 1.0], annotated=[[0.0]])
    assert order(found) == [0, 1]
    assert found[0].value == pytest.approx(2 / 3)


def test_a_second_window_of_a_video_counts_half() -> None:
    features = [[10.0], [-6.0], [4.0]]
    # after 10 is chosen, -6 takes off 6 and 4 takes off 4
    assert order(choose(features, annotated=[[0.0]], videos="abc")) == [0, 1, 2]
    assert order(choose(features, annotated=[[0.0]], videos="aab")) == [0, 2, 1]


def test_windows_that_were_annotated_before_count_for_their_video() -> None:
    features = [[10.0], [6.0]]
    # 10 takes off 10 + 2 and 6 takes off 6 + 6; another one of its video is annotated
    assert order(choose(features, annotated=[[0.0]], videos="ab", annotated_videos="c")) == [0, 1]
    assert order(choose(features, annotated=[[0.0]], videos="ab", annotated_videos="a")) == [1, 0]


def test_few_labels_come_before_many() -> None:
    """Of windows that are all alike, with 7 labels of one class and 1 of another."""
    expected = [[4.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    found = choose([[1.0]] * 4, annotated=[[1.0]], annotated_videos="x", expected=expected, actions=(7.0, 1.0))
    # log(3/2) of the second class against log(12/8) of four of the first, both 0.405; then log(4/3), 0.288, and last 0
    assert order(found) == [0, 1, 2, 3]
    assert [one.balance for one in found] == pytest.approx([1, 1, 1, 0])
    # a fifth of the windows is annotated; with four labels in the mean balance has half of the rest
    assert [one.value for one in found] == pytest.approx([0.4, 0.4, 0.4, 0])
    assert [(one.scarcest, one.expected_before) for one in found] == [(0, 0), (1, 0), (1, 1), (None, 0)]
    # with one more label of the first class, log(13/9) is 0.368
    found = choose([[1.0]] * 4, annotated=[[1.0]], expected=expected, actions=(8.0, 1.0), budget_s=20)
    assert order(found) == [1, 0]
    # without any label of a third class, one expected action is worth log(2), and an eighth of one log(9/8)
    some = [[0.0, 0.0, 0.125], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    found = choose([[1.0]] * 3, annotated=[[1.0]], expected=some, actions=(7.0, 1.0, 0.0), budget_s=10)
    assert (order(found), found[0].scarcest) == ([2], 2)
    # the second window of a video adds half as much
    found = choose([[1.0]] * 3, annotated=[[1.0]], expected=[[2.0], [1.0], [1.0]], actions=(4.0,), videos="aab")
    assert order(found) == [0, 2, 1]


@pytest.mark.parametrize(("labels", "first"), [(0.0, 0), (1.0, 0), (4.0, 1), (12.0, 1)])
def test_the_more_labels_the_more_balance_counts(labels: float, first: int) -> None:
    """Coverage is for the first window, 1 against 0.5, and balance for the second, 1 against 0.3 or so."""
    found = choose([[-10.0], [5.0]], annotated=[[0.0]] * 2, expected=[[0.3], [1.0]], actions=(labels,))
    assert order(found)[0] == first
    share, gain = 4 / (4 + labels), np.log1p(0.3 / (1 + labels)) / np.log1p(1 / (1 + labels))
    expected = [share + (1 - share) * gain, share * 0.5 + (1 - share)]
    assert found[0].value == pytest.approx(0.5 * expected[first])
    assert expected[first] == max(expected)


def test_among_alike_windows_the_most_doubtful_come_first() -> None:
    found = choose([[1.0]] * 4, uncertainty=[0.1, 0.4, 0.2, 0.3], annotated=[[1.0], [0.0]])
    assert order(found) == [1, 3, 2, 0]
    assert [one.doubt for one in found] == [0.75, 0.5, 0.25, 0.0]
    assert all(one.coverage == 0 and one.nearest_s == 0 for one in found)


def test_uncertainty_and_disagreement_count_the_same() -> None:
    found = choose(
        [[1.0]] * 3, uncertainty=[0.9, 0.5, 0.1], disagreement=[0.2, 0.9, 0.1], annotated=[[1.0], [0.0]], budget_s=10
    )
    # ranks 2/3 + 1/3, 1/3 + 2/3 and 0: the first of the two equal ones
    assert order(found) == [0]
    assert (found[0].uncertainty_rank, found[0].disagreement_rank) == pytest.approx((2 / 3, 1 / 3))


def test_a_copy_of_a_chosen_window_waits_for_other_footage() -> None:
    found = choose([[5.0], [5.0], [-2.0]], uncertainty=[0.9, 0.9, 0.0], annotated=[[0.0]])
    # one of four is annotated; once a copy is chosen the other covers nothing, and keeps its doubt: a quarter of 1/3
    assert order(found) == [0, 2, 1]
    assert found[1].coverage == 1
    assert (found[2].coverage, found[2].value) == pytest.approx((0, 1 / 12))


def test_the_budget_is_never_passed_and_shorter_windows_fill_it() -> None:
    # 9 takes off 30 * 8 + 20 * 6 of itself and of 8, which takes off 20 * 7 + 30 * 7
    found = choose([[9.0], [8.0], [-3.0], [-2.0]], annotated=[[0.0], [1.0]], lengths_s=[30, 20, 30, 10], budget_s=45)
    assert order(found) == [0, 3]
    assert not choose([[9.0]], annotated=[[0.0]], budget_s=9.9)
    # 0.1 + 0.2 seconds are more than 0.3 in binary numbers
    assert len(choose([[9.0], [8.0]], annotated=[[0.0]], lengths_s=[0.1, 0.2], budget_s=0.3)) == 2


def test_nothing_annotated_and_nothing_to_choose_from() -> None:
    found = choose([[0.0], [1.0], [5.0]], annotated=[])
    # the middle one is nearest to all; then 5 is 4 from it, and 0 is 1 from it
    assert order(found) == [1, 2, 0]
    assert (found[0].coverage, found[0].value, found[0].nearest_s) == (1, 1, 30)
    assert order(choose([[3.0]], annotated=[])) == [0]
    none = Unlabelled(np.zeros((0, 3)), np.zeros(0), [], np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    assert chosen(none, Annotated(np.zeros((2, 3)), "aa", np.zeros(2)), 60.0) == []


def test_channels_of_any_scale_count_the_same_and_constant_ones_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((8, 3))
    scaled = rows * [1.0, 1000.0, 0.001] + [5.0, 0.0, -3.0]
    own, known = standardised(rows[:5], rows[5:])
    other, others = standardised(scaled[:5], scaled[5:])
    assert np.allclose(own, other)
    assert np.allclose(known, others)
    constant, _ = standardised(np.full((4, 2), 0.1), np.full((3, 2), 0.1))
    assert (constant == 0).all()


@pytest.mark.parametrize("most", [2000, 90])
def test_many_windows_are_chosen_as_by_the_plain_rule(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_MOST_REFERENCES", most)
    generator = np.random.default_rng(1)
    features, annotated = generator.standard_normal((700, 4)), generator.standard_normal((600, 4))
    doubts, lengths_s, videos = generator.random(700), generator.uniform(20, 40, 700), generator.integers(0, 9, 700)
    expected, actions, before = generator.random((700, 3)), np.array([0.0, 2.0, 9.0]), generator.integers(0, 9, 600)
    own_videos, known_videos = [f"video {i}" for i in videos], [f"video {i}" for i in before]
    found = chosen(
        Unlabelled(features, lengths_s, own_videos, expected, doubts, np.zeros(700)),
        Annotated(annotated, known_videos, actions),
        300.0,
    )
    own, known = standardised(features, annotated)
    some = np.linspace(0, 699, min(most, 700)).round().astype(int)
    between = np.linalg.norm(own[:, None] - own[some], axis=2)  # (700, references)
    nearest = np.linalg.norm(own[some][:, None] - known, axis=2).min(axis=1)
    plain: list[int] = []
    left_s = 300.0
    while (is_open := (lengths_s <= left_s) & ~np.isin(np.arange(700), plain)).any():
        gains = (np.maximum(nearest - between, 0) * lengths_s[some]).sum(axis=1)
        labels = 1 + actions + expected[plain].sum(axis=0)
        few = (np.log(labels + expected) - np.log(labels)).sum(axis=1)
        times = 1 + (videos[:, None] == videos[plain]).sum(axis=1) + (videos[:, None] == before).sum(axis=1)
        gains, few = gains / times, few / times
        weight = 600 / 1300
        both = 4 * gains / gains[is_open].max() + 11 / 3 * few / few[is_open].max()
        value = (1 - weight) * both / (4 + 11 / 3) + weight * rank(rank(doubts))
        plain.append(int(np.where(is_open, value, -1).argmax()))
        left_s -= lengths_s[plain[-1]]
        nearest = np.minimum(nearest, between[plain[-1]])
    assert order(found) == plain
    assert len(found) >= 7


def test_ranks_ignore_less_than_hundredths() -> None:
    assert rank(np.array([0.5, 0.1, 0.501, 0.9])).tolist() == [0.25, 0.0, 0.25, 0.75]
