"""The printed and the written table of `scripts/bench suggest`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from actloc import console, files, provenance


@dataclass(frozen=True)
class Row:
    """One scored run."""

    way: str
    """start, random, suggest, or all."""
    budget: int
    """In mean training recordings."""
    seed: int
    labelled_s: float
    num_recordings: int
    """Those with labelled time."""
    num_steps: int
    average_map: float
    """In percent."""


def show(title: str, rows: Sequence[Row]) -> None:
    """A line for each budget: labelled seconds and mAP, the mean and each seed, of both ways and their difference."""
    console.result(title)
    cells = f"{'labelled s':>12}{'mean':>8}   {'each seed':<24}"
    console.result(f"{'budget':>8}  {'random':^46} {'suggest':^46}{'difference':>12}")
    console.result(f"{'':>8} {cells}{cells}")
    for budget in sorted({row.budget for row in rows}):
        both = {"random": ("random", "start", "all"), "suggest": ("suggest", "start", "all")}
        found = {name: [row for row in rows if row.budget == budget and row.way in ways] for name, ways in both.items()}
        line = "".join(_cells(found[name]) for name in both)
        console.result(f"{budget:>8} {line}{_difference(found['random'], found['suggest']):>12}")


def _cells(rows: Sequence[Row]) -> str:
    if not rows:
        return f"{'-':>12}{'-':>8}   {'':<24}"
    each = " ".join(f"{row.average_map:.2f}" for row in rows)
    seconds, average = mean(row.labelled_s for row in rows), mean(row.average_map for row in rows)
    return f"{seconds:>12.0f}{average:>8.2f}   {each:<24}"


def _difference(before: Sequence[Row], after: Sequence[Row]) -> str:
    """Of the means over seeds that both ways have."""
    of_seed = {row.seed: row.average_map for row in before}
    pairs = [(of_seed[row.seed], row.average_map) for row in after if row.seed in of_seed and row not in before]
    return f"{mean(b - a for a, b in pairs):+.2f}" if pairs else ""


def write(
    file: Path,
    data: Mapping[str, Mapping[str, Any]],  # Any: JSON values
    tables: Mapping[str, Sequence[Row]],
) -> None:
    """The settings and rows of each data set, and where they were measured, as JSON."""
    record = {
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "cores": os.cpu_count(),
        "data": {name: {**data[name], "rows": [asdict(row) for row in rows]} for name, rows in tables.items()},
    }
    files.write_json(file, record)
