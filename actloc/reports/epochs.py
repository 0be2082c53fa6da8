"""The last and the best epoch of runs that were validated on the subset that is scored.

Who chooses the best epoch by the videos that are scored gets too good a number, so both are shown, and which is which.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actloc import files
from actloc.evaluation.results import ResultsHead
from actloc.reports.cells import Cell, Table
from actloc.reports.runs import RunRecord
from actloc.reports.text import UNMEASURED, percent

_PREFIX = "validation/"
_JUDGED_BY = ("average_mAP", "top_1")
"""The numbers that decide which checkpoint is the best; a task has one of them."""
_SHOWN = {"average_mAP": "average", "top_1": "top-1", "top_5": "top-5"}


@dataclass(frozen=True)
class Validation:
    """The numbers of one validation, from 0 to 1, by the names of the log."""

    step: int
    epoch: float | None
    """None in logs of older versions."""
    values: dict[str, float]

    @property
    def score(self) -> float:
        """The number that the task is judged by."""
        return next((self.values[name] for name in _JUDGED_BY if name in self.values), -math.inf)

    @property
    def when(self) -> str:
        """`epoch 25`, or `step 250` where the epoch is not known."""
        return f"step {self.step}" if self.epoch is None else f"epoch {self.epoch:g}"


def last_and_best(log: Path) -> tuple[Validation, Validation] | None:
    """The last validation of a log, and the best one, of equal ones the first; None if there is none."""
    found: dict[int, Validation] = {}
    for row in files.read_json_lines(log, skip_damaged=True):
        step, epoch = row.get("step"), row.get("epoch")
        values = {
            name.removeprefix(_PREFIX): float(value)
            for name, value in row.items()
            if name.startswith(_PREFIX) and isinstance(value, int | float) and math.isfinite(value)
        }
        if row.get("event") == "validation" and isinstance(step, int) and values:
            found[step] = Validation(step, float(epoch) if isinstance(epoch, int | float) else None, values)
    listed = [found[step] for step in sorted(found)]
    return (listed[-1], max(listed, key=lambda one: one.score)) if listed else None


def is_validated_on(subset: object, results: ResultsHead) -> bool:
    """Whether this validation subset of a run is what was scored; predictions of a file have no epochs."""
    return isinstance(subset, str) and subset.lower() == results.subset.lower() and results.weights is not None


def tables(scored: Sequence[tuple[RunRecord, ResultsHead]], names: Sequence[str]) -> list[Table]:
    """One table with both epochs of each run that was validated on what is scored; none if there is no such run."""
    pairs = [
        (name, record.run, results, both)
        for name, (record, results) in zip(names, scored, strict=True)
        if is_validated_on(record.chosen.get("training.validation_subset"), results)
        and (both := last_and_best(record.run / "log.jsonl")) is not None
    ]
    if not pairs:
        return []
    # Several results of a run have one log, whose numbers are of the settings of training.
    of_runs: dict[Path, tuple[str, tuple[Validation, Validation]]] = {}
    for name, run, _, both in pairs:
        of_runs.setdefault(run, (name, both))
    keys = dict.fromkeys(key for _, both in of_runs.values() for one in both for key in one.values)
    ordered = sorted(keys, key=lambda key: (key in _SHOWN, key))
    rows = []
    for name, (last, best) in of_runs.values():
        for what, one in (("last", last), ("best", best)):
            numbers = [one.values.get(key) for key in ordered]
            rows.append([Cell(name), Cell(f"{what}, {one.when}"), *(Cell(percent(value)) for value in numbers)])
    subsets = ", ".join(dict.fromkeys(results.subset for _, _, results, _ in pairs))
    return [
        Table(
            title=f"Last and best epoch, validated on {subsets}",
            columns=["run", "epoch", *(_SHOWN.get(key, key.removeprefix("mAP/")) for key in ordered)],
            num_names=2,
            rows=rows,
            caption=[
                f"In percent, by the log of the training. The best epoch is chosen on {subsets}, which is scored: its "
                "numbers are optimistic. Compare last epochs, or validate on other videos.",
                *_scored([(name, results) for name, _, results, _ in pairs]),
            ],
        )
    ]


def _scored(runs: Sequence[tuple[str, ResultsHead]]) -> list[str]:
    """Which epoch the results are of, in a sentence for each of both."""
    lines = []
    for epoch in ("last", "best"):
        of_it = [
            name for name, one in runs if (one.settings.get("evaluation.checkpoint") == "best") == (epoch == "best")
        ]
        lines += [f"The other tables show the {epoch} epoch of {', '.join(of_it)}."] * bool(of_it)
    return lines


def told(run_folder: Path, validated_on: object, results: ResultsHead) -> list[str]:
    """Both epochs in a sentence for the terminal; nothing where the run was not validated on what is scored."""
    both = last_and_best(run_folder / "log.jsonl")
    if both is None or results.trained is None or not is_validated_on(validated_on, results):
        return []
    name = next((name for name in _JUDGED_BY if name in both[0].values), UNMEASURED)
    last, best = (f"{percent(one.values.get(name))} at {one.when}" for one in both)
    return [
        f"Validation on {results.subset} during training, {name.replace('_', ' ')}: {last} (the last), {best} (the "
        "best, which is optimistic: it is chosen on the videos that are scored)"
    ]
