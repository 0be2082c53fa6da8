import random
from collections import Counter

import pytest

from actloc.end_to_end.choosing import chosen, number_of


@pytest.mark.parametrize(
    ("clips", "fraction", "round_to", "count"),
    [
        (15, 0.15, 1, 2),  # TALLFormer on THUMOS14
        (25, 0.36, 1, 9),  # and on ActivityNet
        (128, 0.3, 4, 40),  # ETAD
        (128, 0.25, 4, 32),
        (3, 0.3, 1, 1),
        (3, 0.3, 4, 3),
        (5, 0.3, 4, 4),
        (64, 0.3, 1, 19),
    ],
)
def test_the_number_of_clips_that_learn(clips: int, fraction: float, round_to: int, count: int) -> None:
    assert number_of(clips, fraction, round_to) == count


@pytest.mark.parametrize("choice", ["random", "uniform", "stratified", "oldest"])
def test_clips_are_different_and_in_order(choice: str) -> None:
    for seed in range(50):
        found = chosen(13, 5, choice, random.Random(seed))  # type: ignore[arg-type]
        assert len(set(found)) == 5
        assert list(found) == sorted(found)
        assert set(found) <= set(range(13))
        assert found == chosen(13, 5, choice, random.Random(seed))  # type: ignore[arg-type]
    assert chosen(4, 4, choice, random.Random(0)) == (0, 1, 2, 3)  # type: ignore[arg-type]


def test_random_and_stratified_choices_reach_every_clip_equally_often() -> None:
    for choice in ("random", "stratified"):
        seen = Counter(clip for seed in range(3000) for clip in chosen(12, 4, choice, random.Random(seed)))
        assert len(seen) == 12
        assert max(seen.values()) / min(seen.values()) < 1.25


def test_a_stratified_choice_has_one_clip_of_each_part() -> None:
    for seed in range(50):
        assert [clip // 3 for clip in chosen(12, 4, "stratified", random.Random(seed))] == [0, 1, 2, 3]


def test_a_uniform_choice_goes_from_the_first_to_the_last_clip() -> None:
    assert chosen(60, 9, "uniform", random.Random(0)) == (0, 7, 14, 22, 29, 36, 44, 51, 59)
    assert chosen(60, 1, "uniform", random.Random(0)) == (0,)


def test_the_oldest_first_visits_every_clip_before_any_twice() -> None:
    turns: dict[int, int] = {}
    seen: list[int] = []
    for epoch in range(4):
        found = chosen(12, 3, "oldest", random.Random(epoch), turns)
        seen += found
        turns |= dict.fromkeys(found, epoch)
    assert sorted(seen) == list(range(12))
