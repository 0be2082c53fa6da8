"""Moves as few videos as possible to the other side so that every class is on both."""

from collections.abc import Sequence

_MOST_TRIES = 5000
"""Steps of the exact search; where more are needed, each move is the best single one, and a few more may be made."""
_NUM_FIRST = 2
"""The groups that are never given up for others: all videos, and all with actions."""


def fewest_moves(sides: dict[str, bool], free: Sequence[str], groups: Sequence[set[str]]) -> set[str]:
    """The fewest of the `free` videos, the earlier ones first, whose moves put videos of every group on both sides.

    `sides` has the side of each video. As many groups as possible are satisfied, the first two before all others; those
    of a single video never can be.
    """
    split = _Split(sides, free, groups)
    for given_up in range(len(groups) + 1):
        for moves in range(len(free) + 1):
            found = split.search(moves, given_up, frozenset())
            if found is not None:
                return found
            if split.tries > _MOST_TRIES:
                return split.best_single_moves()
    return set()


class _Split:
    """Two sides, and how many videos of each group are on the one."""

    def __init__(self, sides: dict[str, bool], free: Sequence[str], groups: Sequence[set[str]]) -> None:
        self.tries = 0
        self._side = dict(sides)
        self._place = {name: place for place, name in enumerate(free)}
        self._moved: set[str] = set()
        self._sizes = [len(group) for group in groups]
        self._counts = [sum(sides[name] for name in group) for group in groups]
        self._free_in = [sorted(group & self._place.keys(), key=self._place.__getitem__) for group in groups]
        self._groups_of: dict[str, list[int]] = {name: [] for name in free}
        for number, members in enumerate(self._free_in):
            for name in members:
                self._groups_of[name].append(number)

    def search(self, moves: int, num_given_up: int, given_up: frozenset[int]) -> set[str] | None:
        """The videos to move: at most `moves` more, and all but `num_given_up` more groups satisfied; None if none do.

        Any solution moves a video of each group that is on one side only, so one such group is satisfied by each of its
        videos in turn.
        """
        unmet = [number for number in self._unmet() if number not in given_up]
        if not unmet:
            return set(self._moved)
        self.tries += 1
        choices = {number: [name for name in self._free_in[number] if name not in self._moved] for number in unmet}
        unmet.sort(key=lambda number: len(choices[number]))
        if self.tries > _MOST_TRIES or _at_least(choices, unmet) > moves + num_given_up:
            return None
        for name in choices[unmet[0]] if moves else ():
            self._move(name)
            found = self.search(moves - 1, num_given_up, given_up)
            self._move(name)
            if found is not None:
                return found
        if num_given_up and unmet[0] >= _NUM_FIRST:
            return self.search(moves, num_given_up - 1, given_up | {unmet[0]})
        return None

    def best_single_moves(self) -> set[str]:
        """Moves that each satisfy the most groups, until none satisfies more than it spoils."""
        hopeless: set[int] = set()
        while unmet := [number for number in self._unmet() if number not in hopeless]:
            before = self._cost()
            costs = {name: self._cost_after(name) for name in self._free_in[unmet[0]] if name not in self._moved}
            best = min(costs, key=lambda name: costs[name], default=None)
            if best is None or costs[best] >= before:
                hopeless.add(unmet[0])
            else:
                self._move(best)
        return self._moved

    def _unmet(self) -> list[int]:
        """The groups of several videos that are on one side, unless none of their videos is free."""
        return [
            number
            for number, size in enumerate(self._sizes)
            if size > 1 and self._counts[number] in (0, size) and self._free_in[number]
        ]

    def _move(self, name: str) -> None:
        """To the other side, or back."""
        self._moved ^= {name}
        self._side[name] = not self._side[name]
        for number in self._groups_of[name]:
            self._counts[number] += 1 if self._side[name] else -1

    def _cost_after(self, name: str) -> int:
        self._move(name)
        cost = self._cost()
        self._move(name)
        return cost

    def _cost(self) -> int:
        return sum(len(self._sizes) if number < _NUM_FIRST else 1 for number in self._unmet())


def _at_least(choices: dict[int, list[str]], unmet: list[int]) -> int:
    """How many moves are needed at least: one for each of these groups that share no video."""
    taken: set[str] = set()
    needed = 0
    for number in unmet:
        if taken.isdisjoint(choices[number]):
            taken.update(choices[number])
            needed += 1
    return needed
