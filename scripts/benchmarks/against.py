"""`scripts/bench against COMMIT`: the processor time of this checkout and of another commit, side by side.

The commit is checked out into a temporary folder of `git worktree`. Both sides run this checkout's benchmark, one
process each, with their own `actloc`; they take turns, and of every batch the fastest run counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.effort import FULL, QUICK, TOY, Effort

if TYPE_CHECKING:
    from rich.table import Table

ROOT = Path(__file__).parents[2]
VIDEOS = 12  # that are evaluated for each of the lengths that an effort takes a mean of
THUMOS: dict[str, Any] = {"detector": {"dim": 512}, "channels": 2048, "classes": 20, "max_steps": 2304}
ANET: dict[str, Any] = {
    "detector": {
        "dim": 256,
        "windows": [7, 7, 7, 7, 7, -1],
        "position_embedding": True,
        "label_smoothing": 0.1,
        "loss_weight": 2.0,
        "initial_normaliser": 200,
    },
    "channels": 512,
    "classes": 1,
    "max_steps": 192,
}
EGO4D: dict[str, Any] = {
    "detector": {
        "dim": 512,
        "windows": 9,
        "num_branch_blocks": 7,
        "position_embedding": True,
        "regression_ranges": [
            *([0, 4], [2, 8], [4, 16], [8, 32], [16, 64], [32, 128], [64, 256], [128, 10000]),
        ],
        "dropout": 0.1,
        "max_buffer_factor": 4.0,
    },
    "channels": 2304,
    "classes": 110,
    "max_steps": 1024,
}


@dataclass(frozen=True)
class Row:
    """One of the paths that people wait for."""

    name: str
    threads: int
    goal: float
    """Of the ratio to e993a18."""
    work: dict[str, Any]  # Any: JSON values for `against_side.py`


@dataclass
class Measured:
    """The fastest run of every batch on one side."""

    flops: list[float]
    seconds: list[float] = field(default_factory=list)

    def add(self, seconds: list[float]) -> None:
        """Takes what the batches took in another round."""
        self.seconds = [min(pair) for pair in zip(self.seconds, seconds, strict=True)] if self.seconds else seconds

    @property
    def mean(self) -> float:
        """Seconds of a batch."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def gflop_per_s(self) -> float:
        """Of the products in a batch; 0 where there are none."""
        return sum(self.flops) / sum(self.seconds) / 1e9


def rows(effort: Effort) -> list[Row]:
    """All paths, at the lengths of this effort."""
    from scripts.benchmarks.networks import THUMOS_STEPS, drawn_batches, thumos_lengths

    drawn = sorted(drawn_batches(10), key=max)
    real = [drawn[int((place + 0.5) * len(drawn) / effort.lengths)] for place in range(effort.lengths)]

    def of(kind: str, network: dict[str, Any], batches: Sequence[Sequence[int]]) -> dict[str, Any]:
        sizes = {"channels": effort.of(network["channels"])}
        sizes["detector"] = {**network["detector"], "dim": effort.of(network["detector"]["dim"])}
        lengths = [[max(8, effort.of(steps)) for steps in batch] for batch in batches]
        return {"kind": kind, **network, **sizes, "batches": lengths}

    full, anet, ego4d = [[THUMOS_STEPS] * 2], [[192] * 16], [[1024] * 2]
    tested, number = thumos_lengths("test"), VIDEOS * effort.lengths
    videos = [[tested[int((place + 0.5) * len(tested) / number)]] for place in range(number)]
    candidates = {"kind": "suppressions", "candidates": effort.of(2_000), "classes": 20, "repeated": effort.of(320)}
    return [
        Row("THUMOS14 step, real lengths", 2, 0.64, of("steps", THUMOS, real)),
        Row("THUMOS14 step, full length", 1, 0.62, of("steps", THUMOS, full)),
        Row("THUMOS14 step, full length", 2, 0.70, of("steps", THUMOS, full)),
        Row("ActivityNet step, 16 x 512 x 192", 1, 0.68, of("steps", ANET, anet)),
        Row("ActivityNet step, 16 x 512 x 192", 2, 0.70, of("steps", ANET, anet)),
        Row("Ego4D step, 2 x 2304 x 1024", 2, 0.72, of("steps", EGO4D, ego4d)),
        Row("evaluation of a video, 2,304 steps", 1, 0.88, of("evaluations", THUMOS, [[THUMOS_STEPS]])),
        Row(f"whole eval, {number} THUMOS14 videos", 1, 0.80, of("evals", THUMOS, videos)),
        Row("dense soft-NMS, 2,000 in 20 classes", 1, 0.80, candidates),
    ]


class Side:
    """A process with the `actloc` of one commit; `folder` has it and these scripts."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.against_side"],
            cwd=folder,
            # threads that wait sleep: their waiting would count as processor time
            env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The process's answer; exits if it failed, and has said why."""
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit("scripts/bench against: a side failed, see above; it supports commits since e993a18.")
        found: dict[str, Any] = json.loads(answer)
        return found

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the `actloc` of `commit` and the scripts of this checkout, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as name:
        tree, folder = Path(name, "tree"), Path(name, "side")
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            folder.mkdir()
            (folder / "actloc").symlink_to(tree / "actloc")
            (folder / "scripts").symlink_to(ROOT / "scripts")
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"scripts/bench against: git {arguments[0]} failed, see above.")
    return done.stdout.strip()


def measured(row: Row, sides: Sequence[Side], effort: Effort) -> dict[str, Any]:
    """One line of the table: the sides take turns, and the first of a round changes."""
    of_sides = [Measured(side.ask({"work": row.work, "threads": row.threads})["flops"]) for side in sides]
    products = [0.0]
    for number in range(2 * effort.repeats):
        for place in (0, 1) if number % 2 == 0 else (1, 0):
            of_sides[place].add(sides[place].ask({"round": number})["seconds"])
        if effort is not TOY:
            products.append(sides[1].ask({"product": True})["gflop_per_s"])
    before, now = of_sides
    return {
        "name": row.name,
        "threads": row.threads,
        "before_s": before.mean,
        "now_s": now.mean,
        "ratio": now.mean / before.mean,
        "goal": row.goal,
        "before_gflop_per_s": before.gflop_per_s,
        "now_gflop_per_s": now.gflop_per_s,
        "product_gflop_per_s": max(products),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench against",
        description="Measure the processor time of the paths that people wait for, beside that of another commit.",
    )
    parser.add_argument("commit", help="the commit to compare with, e993a18 or later")
    parser.add_argument("--quick", action="store_true", help="measure one batch twice")
    parser.add_argument("--toy", action="store_true", help="measure toys: only to see that everything runs")
    parser.add_argument("--only", default="", metavar="NAME", help="measure only paths with this in their names")
    parser.add_argument("--output", type=Path, default=ROOT / "ckpt/bench_against.json", help="the JSON file to write")
    options = parser.parse_args()
    effort = TOY if options.toy else QUICK if options.quick else FULL
    from rich.console import Console

    from actloc import files
    from scripts.benchmarks.results import processor

    chosen = [row for row in rows(effort) if options.only.lower() in row.name.lower()]
    if not chosen:
        parser.error(f"--only {options.only}: expected a part of {', '.join(row.name for row in rows(effort))}")
    commit = _git("rev-parse", "--short", f"{options.commit}^{{commit}}")
    console = Console(stderr=True)
    with checked_out(commit) as folder, ExitStack() as stack:
        sides = [stack.enter_context(Side(one)) for one in (folder, ROOT)]
        lines = []
        for row in chosen:
            with console.status(f"measuring {row.name}, {row.threads} threads"):
                lines.append(measured(row, sides, effort))
            console.print(f"{row.name}, {row.threads}: {lines[-1]['ratio']:.2f}")
    Console(width=max(Console().width, 110)).print(_table(commit, lines, processor()))
    files.write_json(options.output, {"version": 1, "commit": commit, "processor": processor(), "rows": lines})
    console.print(f"Wrote {options.output}")


def _table(commit: str, lines: list[dict[str, Any]], processor: str) -> "Table":
    from rich.table import Table

    table = Table(
        title=f"Processor time of this checkout beside {commit}",
        caption=f"On {processor}; per second of processor time. The goals are ratios to e993a18.",
    )
    table.add_column("path", no_wrap=True)
    for name in ("threads", commit, "now", "ratio", "goal", "GFLOP/s", "of a product"):
        table.add_column(name, justify="right")
    for one in lines:
        rates = f"{one['before_gflop_per_s']:.0f}, {one['now_gflop_per_s']:.0f}" if one["now_gflop_per_s"] else "-"
        times = (f"{one['before_s']:.3g} s", f"{one['now_s']:.3g} s")
        shares = (f"{one['ratio']:.2f}", f"{one['goal']:.2f}")
        table.add_row(one["name"], str(one["threads"]), *times, *shares, rates, f"{one['product_gflop_per_s']:.0f}")
    return table


if __name__ == "__main__":
    main()
