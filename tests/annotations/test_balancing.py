"""The fewest moves to the other side, against all possible ones."""

import itertools

import numpy as np
import pytest

from actloc.annotations import balancing
from actloc.annotations.balancing import fewest_moves


def unmet(sides: dict[str, bool], groups: list[set[str]], moved: set[str]) -> tuple[bool, bool, int]:
    """Whether the first two groups of several videos are on one side only, and how many of the others are."""
    one_sided = [len(group) > 1 and len({sides[name] ^ (name in moved) for name in group}) == 1 for group in groups]
    return one_sided[0], one_sided[1], sum(one_sided[2:])


def random_case(seed: int) -> tuple[dict[str, bool], list[str], list[set[str]]]:
    random = np.random.default_rng(seed)
    names = [f"v{number}" for number in range(random.integers(2, 8))]
    sides = {name: bool(random.random() < 0.2) for name in names}
    free = [name for name in names if random.random() < 0.85]
    classes = [{name for name in names if random.random() < 0.35} for _ in range(random.integers(1, 5))]
    classes = [group for group in classes if group]
    return sides, free, [set(names), set().union(*classes), *classes]


@pytest.mark.parametrize("seed", range(60))
def test_no_other_moves_satisfy_more_groups_or_are_fewer(seed: int) -> None:
    sides, free, groups = random_case(seed)
    found = fewest_moves(sides, free, groups)
    assert found <= set(free)
    every = [set(some) for size in range(len(free) + 1) for some in itertools.combinations(free, size)]
    best = min((sum(unmet(sides, groups, moved)[:2]), unmet(sides, groups, moved)[2], len(moved)) for moved in every)
    assert (sum(unmet(sides, groups, found)[:2]), unmet(sides, groups, found)[2], len(found)) == best


def test_three_classes_that_cannot_all_be_on_both_sides_leave_one_out() -> None:
    groups = [{"a", "b", "c"}, {"a", "b", "c"}, {"a", "b"}, {"b", "c"}, {"a", "c"}]
    found = fewest_moves(dict.fromkeys("abc", False), "abc", groups)
    assert len(found) == 1


@pytest.mark.parametrize("most_tries", [0, 5000])
def test_many_classes_are_split_without_a_long_search(monkeypatch: pytest.MonkeyPatch, most_tries: int) -> None:
    monkeypatch.setattr(balancing, "_MOST_TRIES", most_tries)
    names = [f"{label}_{number}" for label in range(300) for number in range(4)]
    classes = [{name for name in names if name.startswith(f"{label}_")} for label in range(300)]
    sides = {name: name.endswith("_0") and int(name[:-2]) % 3 > 0 for name in names}
    groups = [set(names), set(names), *classes]
    found = fewest_moves(sides, names, groups)
    assert unmet(sides, groups, found) == (False, False, 0)
    assert len(found) == 100
