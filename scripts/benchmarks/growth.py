"""The tables of `scripts/bench growth`: how time and memory of commands grow with the work.

Every command runs in a process of its own, on made-up data of five sizes: the smallest shows what the command takes
whatever its work, which is subtracted, and the exponent is the slope of a line through the other four, both scales
logarithmic: 1 where twice the work takes twice as long, 2 where it takes four times as long.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.growth_data import COLOR, Size, make, make_video, steps_for

LEAST_SHARE = 0.25
"""Work that takes less than this share of the start-up is shown and left out of the fit: it is lost in what varies."""
MOST_EXPONENT = 1.1
_REPEATED_S = 2.0
"""A command is run again, once at most, if it took less; the faster run counts."""
_INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """One command of the command line."""

    name: str
    arguments: tuple[str, ...]
    ends_with: str = ""
    """A file whose first line ends the command, for the start of what would take long."""
    is_shown: bool = True
    """False for what is only needed by the next command."""


@dataclass(frozen=True)
class Chain:
    """Commands that run one after the other in a folder of each size."""

    name: str
    of: str
    """What the sizes count."""
    sizes: tuple[float, ...]
    smallest: float
    commands: tuple[Command, ...]
    prepare: Callable[[Path, float], Path]
    """Makes the data of a size below a folder, and returns the folder where commands run."""
    removed: tuple[str, ...] = ("prepared", "ckpt")
    """What earlier commands wrote."""


@dataclass(frozen=True)
class Cost:
    """Of one run of a command."""

    processor_s: float
    """With the processes that it started."""
    memory_mb: float
    """Resident at its peak, of the largest process."""


@dataclass(frozen=True)
class Row:
    """A command over all sizes."""

    name: str
    of: str
    sizes: tuple[float, ...]
    costs: tuple[Cost, ...]
    smallest: float
    start: Cost
    """With the smallest work."""

    @property
    def exponent(self) -> float | None:
        """Of the time that the work takes; None if fewer than two sizes take long enough."""
        works = [cost.processor_s - self.start.processor_s for cost in self.costs]
        counted = [
            (math.log(size - self.smallest), math.log(work))
            for size, work in zip(self.sizes, works, strict=True)
            if work > LEAST_SHARE * self.start.processor_s
        ]
        return slope(counted) if len(counted) > 1 else None


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits the points best, by least squares."""
    x_mean, y_mean = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


PREPARE = Command("prepare", ("prepare", "run.yaml"))
TRAIN = Command("train, to its first step", ("train", "run.yaml"), "ckpt/run/log.jsonl")
EVAL = Command("eval of a run", ("eval", "ckpt/run"))
REPORT = Command("report of a run", ("report", "ckpt/run"))
EVAL_FILE = Command("eval of a file", ("eval", "run.yaml", "--predictions", "predictions.json", "--name", "file"))
REPORT_FILE = Command("report of a file", ("report", "ckpt/file"))
ALL = "--set", "prediction.threshold=0", "--overwrite"
PREDICT = Command("predict, encoder color", ("predict", "ckpt/run", "video.mp4", "--output", "found", *ALL))
NOT_SHOWN = (Command("", PREPARE.arguments, "", False), Command("", TRAIN.arguments, TRAIN.ends_with, False))


def chains(folder: Path, share: float = 1.0) -> list[Chain]:
    """What is measured, with data below `folder`; `share` of the full sizes."""

    def counts(*sizes: float) -> tuple[float, ...]:
        return tuple(max(2 * (place + 2), round(size * share)) for place, size in enumerate(sizes[:kept]))

    kept = 4 if share == 1 else 2

    videos, scored, actions = counts(100, 600, 3500, 20000), counts(100, 300, 1000, 3000), counts(10, 60, 350, 2000)
    lengths = (10.0, 40.0, 80.0, 160.0), (160.0, 320.0, 640.0, 1280.0)
    minutes, stored = [tuple(max(0.2, size * share) for size in sizes[:kept]) for sizes in lengths]
    store = folder / "all_videos" / "features"
    whole = Size(int(max(videos)), 2, steps_for(2))

    def of_videos(place: Path, size: float) -> Path:
        make(folder / "all_videos", whole)
        return make(place, Size(int(size), 2, steps_for(2)), store)

    def of_actions(place: Path, size: float) -> Path:
        return make(place, Size(20 if share == 1 else 2, int(size), steps_for(int(max(actions)))))

    def of_stored_minutes(place: Path, size: float) -> Path:
        return make(place, Size(2, min(20, max(1, round(10 * size))), max(24, round(size * 120))))

    def of_minutes(place: Path, size: float) -> Path:
        _train_on_videos(folder / "run_on_videos")
        place.mkdir(parents=True, exist_ok=True)
        make_video(place / "video.mp4", size)
        if not (place / "ckpt").exists():
            (place / "ckpt").symlink_to((folder / "run_on_videos" / "ckpt").absolute())
        return place

    return [
        Chain("videos", "videos", videos, 2, (PREPARE, TRAIN, EVAL_FILE, REPORT_FILE), of_videos),
        Chain("scored", "videos", scored, 2, (*NOT_SHOWN, EVAL, REPORT), of_videos),
        Chain("actions", "actions a video", actions, 1, (PREPARE, TRAIN, EVAL_FILE, REPORT_FILE), of_actions),
        Chain("predict", "minutes", minutes, 0.1, (PREDICT,), of_minutes, ("found",)),
        Chain("stored", "minutes", stored, 1.5 * share, (*NOT_SHOWN, EVAL, REPORT), of_stored_minutes),
    ]


def _train_on_videos(folder: Path) -> None:
    """A run of the encoder `color` in `folder`, after one step; an existing one is kept."""
    if (folder / "ckpt").exists():
        return
    for name in ("a", "b"):
        make_video(folder / "videos" / f"{name}.mp4", 0.2)
    rows = ["video,start,end,label,subset", "a,1,3,one,train", "a,4,6,two,train", "b,1,3,one,test", "b,4,6,two,test"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "run.yaml").write_text(COLOR)
    ran(folder, ("prepare", "run.yaml"))
    ran(folder, ("extract-features", "run.yaml"))
    ran(folder, TRAIN.arguments, TRAIN.ends_with)


def ran(folder: Path, arguments: Sequence[str], ends_with: str = "") -> Cost:
    """Runs a command of actloc in `folder`; raises RuntimeError with what it printed if it fails."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "NO_COLOR": "1"}
    launcher = [sys.executable, str(root / "scripts/benchmarks/launched.py"), ends_with]
    command = [*launcher, sys.executable, "-m", "actloc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    took = json.loads(done.stdout)
    if took["status"] not in ((0, _INTERRUPTED) if ends_with else (0,)):
        raise RuntimeError(f"in {folder}: actloc {' '.join(arguments)} ended with {took['status']}\n{done.stderr}")
    return Cost(took["processor_s"], took["memory_mb"])


def measured(chain: Chain, folder: Path, report: Callable[[str], None], most_runs: int = 2) -> list[Row]:
    """The rows of a chain, its data below `folder`; each command runs `most_runs` times, fewer where that is long."""
    costs: dict[str, list[Cost]] = {command.name: [] for command in chain.commands if command.is_shown}
    for size in (chain.smallest, *chain.sizes):
        report(f"{chain.name}: {size:g} {chain.of}")
        place = chain.prepare(folder / f"{chain.name}_{size:g}", size)
        fastest: dict[str, Cost] = {}
        spent = 0.0
        for _ in range(most_runs):
            for name in chain.removed:
                shutil.rmtree(place / name, ignore_errors=True)
            for command in chain.commands:
                cost = ran(place, command.arguments, command.ends_with)
                spent += cost.processor_s
                if command.is_shown:
                    best = fastest.get(command.name, cost)
                    fastest[command.name] = min(best, cost, key=lambda one: one.processor_s)
            if spent > _REPEATED_S * len(chain.commands):
                break
        for name, cost in fastest.items():
            costs[name].append(cost)
    return [Row(name, chain.of, chain.sizes, tuple(of[1:]), chain.smallest, of[0]) for name, of in costs.items()]


def table(rows: Sequence[Row]) -> str:
    """Markdown: a row for each command."""
    lines = ["| command | sizes | start-up | time | memory | exponent |", "|---|---|---:|---|---|---:|"]
    for row in rows:
        exponent = "-" if row.exponent is None else f"{row.exponent:.2f}" + " !" * (row.exponent > MOST_EXPONENT)
        cells = (
            f"{' / '.join(f'{size:,g}' if size < 1e6 else f'{size:,.0f}' for size in row.sizes)} {row.of}",
            f"{row.start.processor_s:.1f} s",
            f"{' / '.join(f'{cost.processor_s:.1f}' for cost in row.costs)} s",
            f"{' / '.join(f'{cost.memory_mb:.0f}' for cost in row.costs)} MB",
            exponent,
        )
        lines.append(f"| `{row.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write; `arguments` are those of the command line if left out."""
    from actloc import console, files, provenance

    parser = argparse.ArgumentParser(
        prog="scripts/bench growth", description="Measure how time and memory of commands grow with the work."
    )
    parser.add_argument("--only", metavar="NAME", help="one of videos, scored, actions, predict, stored")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--runs", type=int, default=2, help="runs of each short command, of which the fastest counts")
    parser.add_argument(
        "--folder", type=Path, default=Path("ckpt/bench_growth/data"), help="where data are made, once (0.4 GB)"
    )
    parser.add_argument("--output", type=Path, default=Path("ckpt/bench_growth/table.json"), help="the JSON file")
    options = parser.parse_args(arguments)
    folder = options.folder.absolute()
    runs = 1 if options.toy else options.runs
    named = [one for one in chains(folder, 0.001 if options.toy else 1.0) if options.only in (None, one.name)]
    if not named:
        parser.error(f"--only: found {options.only}, expected one of videos, scored, actions, predict, stored")
    rows = [row for chain in named for row in measured(chain, folder, console.say, runs)]
    console.result(table(rows))
    console.result(f"\nProcessor time, one thread, {provenance.machine()}, commit {provenance.commit()}")
    content = [{**asdict(row), "exponent": row.exponent} for row in rows]
    record = {"version": 1, "machine": provenance.machine(), "commit": provenance.commit()}
    files.write_json(options.output, {**record, "rows": content})


if __name__ == "__main__":
    main()
