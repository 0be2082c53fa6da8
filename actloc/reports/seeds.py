"""Finds the runs that differ in their seed only: they are one row, the mean and the standard deviation."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Generic, TypeVar

from actloc import console
from actloc.evaluation.results import Results, ResultsHead
from actloc.reports.cells import Table
from actloc.reports.map_rows import SeedGroup
from actloc.reports.run_settings import Settings, differing
from actloc.reports.runs import Evaluation
from actloc.reports.tables import are_comparable, map_table, run_names, share_tious

_FREE = ("run.seed", "run.name", "run.folder")
"""The seed, and the names that follow from it."""
_WITHOUT_EFFECT = "machine."
"""The section whose settings do not change a result: seeds are often trained on several GPUs."""
_Results = TypeVar("_Results", bound=ResultsHead)


@dataclass(frozen=True)
class Seeds(Generic[_Results]):
    """Runs of any task, and which of them differ in the seed only."""

    names: Sequence[str]
    settings: Sequence[Settings]
    """As used; empty where they are not known."""
    runs: Sequence[_Results]
    data_differences: Callable[[_Results, _Results], list[str]]
    """In what two runs differ that the task knows: data, protocol."""

    def groups(self) -> list[SeedGroup]:
        """The groups of at least two runs, by place; no group has a seed twice."""
        groups: list[list[int]] = []
        for place, run in enumerate(self.runs):
            for group in groups:
                seeds = {self.runs[other].seed for other in group}
                if run.seed not in seeds and not self.other_differences(group[0], place):
                    group.append(place)
                    break
            else:
                groups.append([place])
        named = [(group, _shared_name([self.names[place] for place in group])) for group in groups if len(group) > 1]
        known = Counter(name for _, name in named)
        return [
            self._group(group, name if known[name] == 1 else ", ".join(self.names[place] for place in group))
            for group, name in named
        ]

    def _group(self, places: Sequence[int], name: str) -> SeedGroup:
        counted = console.count(len(places), "seed")
        title = f"{name}, mean of {counted}"
        seeds = ", ".join(str(self.runs[place].seed) for place in places)
        how = f"mean ± sample standard deviation (n = {len(places)}, divided by n - 1) of the {counted} {seeds}"
        return SeedGroup(tuple(places), title, f"{title}: {how}")

    def other_differences(self, one: int, other: int) -> list[str]:
        """In what two runs differ beside the seed; empty if in nothing that is known."""
        first, second = self.runs[one], self.runs[other]
        settings = differing(["", ""], [self.settings[one], self.settings[other]])
        if settings is None or first.seed is None or second.seed is None:
            return ["settings that are not known"]
        keys = [row[0].text for row in settings.rows]
        found = [key for key in keys if key not in _FREE and not key.startswith(_WITHOUT_EFFECT)]
        found += self.data_differences(first, second)
        return found + [what for what, mine, theirs in _facts(first, second) if mine != theirs]

    def captions(self) -> list[str]:
        """What each row of several runs is, and which runs are in none because of another commit or version."""
        groups = self.groups()
        merged = {place: group.places for group in groups for place in group.places}
        lines = [f"{group.caption}." for group in groups]
        for place, run in enumerate(self.runs):
            for before in range(place):
                if place in merged.get(before, ()) or run.seed == self.runs[before].seed:
                    continue
                found = self.other_differences(before, place)
                if found and set(found) <= {"commit", "version"}:
                    names = f"{self.names[before]} and {self.names[place]}"
                    lines.append(f"{names} differ in the seed and in {' and '.join(found)}, so they are not one row.")
        return lines


def _facts(first: ResultsHead, second: ResultsHead) -> list[tuple[str, object, object]]:
    def pair(what: str, name: str) -> tuple[str, object, object]:
        return what, getattr(first, name), getattr(second, name)

    one, other = first.trained, second.trained
    seen = first.is_measured_on_training_videos(), second.is_measured_on_training_videos()
    return [
        pair("weights", "weights"),
        pair("changed settings", "changed"),
        pair("annotations", "annotations_sha256"),
        ("steps of training", one and (one.step, one.is_finished), other and (other.step, other.is_finished)),
        ("training annotations", one and one.annotations_sha256, other and other.annotations_sha256),
        ("videos seen in training", *seen),
        pair("own code", "code"),
        pair("commit", "commit"),
        pair("version", "version"),
    ]


def merged_table(evaluations: Sequence[Evaluation]) -> Table:
    """The table of mAP, in which runs that differ in the seed only are one row above the single runs."""
    seeds = seeds_of(evaluations)
    table = map_table(seeds.runs, seeds.groups())
    return replace(table, caption=[*table.caption, *seeds.captions()])


def seeds_of(evaluations: Sequence[Evaluation]) -> Seeds[Results]:
    """The seeds of detectors."""
    runs = [one.results for one in evaluations]
    return Seeds(run_names(runs), [one.as_used for one in evaluations], runs, _data_differences)


def _data_differences(first: Results, second: Results) -> list[str]:
    found = ["data or protocol"] * (not are_comparable([first, second]))
    found += ["tIoUs"] * (not share_tious([first, second]))
    return found + ["class scores"] * (first.classifier != second.classifier)


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
