"""Which of a user's own videos are for training and which for evaluation."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from actloc.errors import Problem

_EVERY_FIFTH = 5


def chosen_by_hash(names: Iterable[str], training: str, evaluation: str) -> dict[str, str]:
    """A subset for each name: ordered by the sha256 of the names, every fifth is for evaluation."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return {
        name: evaluation if place % _EVERY_FIFTH == _EVERY_FIFTH - 1 else training for place, name in enumerate(ordered)
    }


def problems_of_subsets(
    source: Path, members: Iterable[tuple[str, bool]], allowed: list[str], where_assigned: str
) -> list[Problem]:
    """Subsets that no setting names, and training and evaluation (the first two) without videos or actions.

    `members` has the subset of each video, and whether the video has an action.
    """
    has_actions: dict[str, bool] = {}
    for subset, has_action in members:
        has_actions[subset] = has_actions.get(subset, False) or has_action
    found = sorted(has_actions)
    how = f"the videos are in {', '.join(found)}; set dataset.training_subset= and dataset.evaluation_subset= to yours"
    problems = [Problem(str(source), f"unknown subset {name!r}; {how}") for name in found if name not in allowed]
    for subset in allowed[:2]:
        if subset not in has_actions:
            what = f"no video is in the subset {subset!r}; with fewer than 5 videos, assign them in {where_assigned}"
            problems.append(Problem(str(source), what))
        elif not has_actions[subset]:
            what = f"no action is in the subset {subset!r}; assign its videos in {where_assigned}"
            problems.append(Problem(str(source), what))
    return problems
