"""Finds the runs that differ in their seed only: they are one row, the mean and the standard deviation."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from actloc import console
from actloc.evaluation.results import Results
from actloc.reports.cells import Table
from actloc.reports.map_rows import SeedGroup
from actloc.reports.run_settings import differing
from actloc.reports.runs import Evaluation
from actloc.reports.tables import are_comparable, map_table, share_tious

_FREE = ("run.seed", "run.name", "run.folder")
"""The seed, and the names that follow from it."""
_WITHOUT_EFFECT = "machine."
"""The section whose settings do not change a result: seeds are often trained on several GPUs."""


def merged_table(evaluations: Sequence[Evaluation]) -> Table:
    """The table of mAP, in which runs that differ in the seed only are one row above the single runs."""
    groups = seed_groups(evaluations)
    table = map_table([one.results for one in evaluations], groups)
    return replace(
        table, caption=[*table.caption, *(f"{group.caption}." for group in groups), *near_misses(evaluations, groups)]
    )


def seed_groups(evaluations: Sequence[Evaluation]) -> list[SeedGroup]:
    """The groups of at least two runs, by place; no group has a seed twice."""
    groups: list[list[int]] = []
    for place, one in enumerate(evaluations):
        for group in groups:
            seeds = {evaluations[other].results.seed for other in group}
            if one.results.seed not in seeds and not other_differences(evaluations[group[0]], one):
                group.append(place)
                break
        else:
            groups.append([place])
    return [_group(evaluations, group) for group in groups if len(group) > 1]


def other_differences(one: Evaluation, other: Evaluation) -> list[str]:
    """In what two runs differ beside the seed; empty if in nothing that is known."""
    first, second = one.results, other.results
    settings = differing(["", ""], [one.as_used, other.as_used])
    if settings is None or first.seed is None or second.seed is None:
        return ["settings that are not known"]
    keys = [row[0].text for row in settings.rows]
    found = [key for key in keys if key not in _FREE and not key.startswith(_WITHOUT_EFFECT)]
    found += ["data or protocol"] * (not are_comparable([first, second]))
    found += ["tIoUs"] * (not share_tious([first, second]))
    return found + [what for what, mine, theirs in _facts(first, second) if mine != theirs]


def _facts(first: Results, second: Results) -> list[tuple[str, object, object]]:
    def pair(what: str, name: str) -> tuple[str, object, object]:
        return what, getattr(first, name), getattr(second, name)

    one, other = first.trained, second.trained
    seen = first.is_measured_on_training_videos(), second.is_measured_on_training_videos()
    return [
        pair("weights", "weights"),
        pair("changed settings", "changed"),
        pair("class scores", "classifier"),
        pair("annotations", "annotations_sha256"),
        ("steps of training", one and (one.step, one.is_finished), other and (other.step, other.is_finished)),
        ("training annotations", one and one.annotations_sha256, other and other.annotations_sha256),
        ("videos seen in training", *seen),
        pair("own code", "code"),
        pair("commit", "commit"),
        pair("version", "version"),
    ]


def near_misses(evaluations: Sequence[Evaluation], groups: Sequence[SeedGroup]) -> list[str]:
    """Sentences about runs with the same settings but the seed that are no row together, such as of two commits."""
    lines = []
    merged = {place: group.places for group in groups for place in group.places}
    for place, one in enumerate(evaluations):
        for before in range(place):
            other = evaluations[before]
            if place in merged.get(before, ()) or one.results.seed == other.results.seed:
                continue
            found = other_differences(other, one)
            if found and set(found) <= {"commit", "version"}:
                names = f"{other.results.name} and {one.results.name}"
                lines.append(f"{names} differ in the seed and in {' and '.join(found)}, so they are not one row.")
    return lines


def _group(evaluations: Sequence[Evaluation], places: Sequence[int]) -> SeedGroup:
    runs = [evaluations[place].results for place in places]
    counted = console.count(len(runs), "seed")
    name = f"{_shared_name([run.name for run in runs])}, mean of {counted}"
    seeds = ", ".join(str(run.seed) for run in runs)
    how = f"mean ± sample standard deviation (n = {len(runs)}, divided by n - 1) of the {counted} {seeds}"
    return SeedGroup(tuple(places), name, f"{name}: {how}")


def _shared_name(names: Sequence[str]) -> str:
    """`af_seed*` for af_seed0 and af_seed1; the names themselves if they begin and end differently."""
    if len(set(names)) == 1:
        return names[0]
    start = _common_start(names)
    end = _common_start([name[len(start) :][::-1] for name in names])[::-1]
    return f"{start}*{end}" if len(start) > 1 else ", ".join(names)


def _common_start(names: Sequence[str]) -> str:
    letters = takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    return "".join(column[0] for column in letters)
