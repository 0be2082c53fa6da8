"""The tables of `scripts/bench scale`: what extraction and `predict` take on Ray, here and on many machines.

A run is seen as four kinds of work: what the command itself does, which no second machine shortens, what Ray's workers
do, what Ray does to start and feed them, and the start of every worker. Each is measured as processor time of its
processes, which does not depend on how many cores there are; a few runs of several sizes give the cost of a worker, of
a video and of a second of video. What many machines would take follows from these costs by arithmetic.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.growth import ALL, TRAIN, ran
from scripts.benchmarks.growth_data import COLOR

HOURS, MINUTES_EACH = 1000, 6
"""Of the videos that the extrapolation is for, and the length of each."""
MACHINES, CORES = (1, 16, 256), 16
_POLL_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
ROLES = "command", "workers", "ray"
"""The process of the command; Ray's tasks and actors with the decoders that they start; Ray's own processes."""


@dataclass(frozen=True)
class Work:
    """One run that is measured."""

    workers: int
    """CPUs that Ray counts."""
    videos: int
    seconds: float
    """The length of each video."""


@dataclass(frozen=True)
class Run:
    """What it took: processor seconds of each role, and wall seconds."""

    work: Work
    processor_s: Mapping[str, float]
    wall_s: float


@dataclass(frozen=True)
class Costs:
    """Processor seconds of one role: its start, each worker, each video, and each second of video."""

    start_s: float
    worker_s: float
    video_s: float
    second_s: float

    def of(self, videos: float, seconds: float) -> float:
        """Of videos with so many seconds in all, without any start."""
        return self.video_s * videos + self.second_s * seconds


WORKS = (Work(2, 8, 30), Work(2, 16, 30), Work(2, 8, 120), Work(4, 8, 30), Work(1, 8, 30))
TOY = (Work(2, 1, 1), Work(4, 2, 1))


def fitted(runs: Sequence[Run], role: str) -> Costs:
    """The costs, none below 0, whose sums are closest to what was measured."""
    import numpy as np

    rows = [(1, run.work.workers, run.work.videos, run.work.videos * run.work.seconds) for run in runs]
    table, took = np.array(rows, float), np.array([run.processor_s[role] for run in runs])
    are_of_one_length = len({run.work.seconds for run in runs}) == 1  # then all that they take counts by the second
    left = [0, 1, 3] if are_of_one_length else [0, 1, 2, 3]
    while True:  # what comes out below 0 is too small to be seen here: it is left out, and the others are fitted again
        values = np.linalg.lstsq(table[:, left], took, rcond=None)[0]
        if (values >= 0).all() or len(left) == 1:
            break
        left.remove(left[int(values.argmin())])
    found = np.zeros(table.shape[1])
    found[left] = np.maximum(values, 0)
    return Costs(*found.tolist())


@dataclass(frozen=True)
class Expected:
    """What `machines` of 16 cores would take, in seconds; all of it is extrapolated."""

    machines: int
    start_s: float
    """Until the workers are at work: they start side by side."""
    workers_s: float
    """Shared by all cores."""
    command_s: float
    """The process of the command, on one core whatever the number of machines."""
    last_video_s: float
    """One video is decoded and encoded by one worker: the last one ends later than the others."""

    @property
    def total_s(self) -> float:
        """The command works while the workers do."""
        return self.start_s + max(self.workers_s + self.last_video_s, self.command_s)

    @property
    def limit(self) -> str:
        """What more machines would not shorten, or `workers` where they would."""
        parts = {
            "workers": self.workers_s,
            "the last video": self.last_video_s,
            "start-up": self.start_s,
            "the command's own process": self.command_s,
        }
        return max(parts, key=lambda name: parts[name])


def expected(costs: Mapping[str, Costs], machines: int) -> Expected:
    """By arithmetic from the costs of the roles."""
    seconds = HOURS * 3600.0
    videos = HOURS * 60 / MINUTES_EACH
    command, workers, ray = (costs[role] for role in ROLES)
    shared = workers.of(videos, seconds) + ray.of(videos, seconds)
    return Expected(
        machines,
        command.start_s + ray.start_s + workers.start_s + workers.worker_s + ray.worker_s,
        shared / (machines * CORES),
        command.of(videos, seconds),
        workers.of(1, MINUTES_EACH * 60.0),
    )


def measured(folder: Path, works: Sequence[Work], encoder: str, report: Callable[[str], None]) -> dict[str, list[Run]]:
    """Runs of extraction and of `predict`, their data below `folder`."""
    from scripts.benchmarks.extraction import make_video

    trained = _trained(folder / "trained", encoder)
    runs: dict[str, list[Run]] = {"extract-features": [], "predict": []}
    for number, work in enumerate(works):
        place = folder / f"run_{number}"
        for video in range(work.videos):
            name = f"videos_{work.videos}_{work.seconds:g}/{video}.mp4"
            made = make_video(folder / f"source_{work.seconds:g}.mp4", "320x240", work.seconds)
            (folder / name).parent.mkdir(exist_ok=True)
            if not (folder / name).exists():
                (folder / name).hardlink_to(made)
        videos = folder / f"videos_{work.videos}_{work.seconds:g}"
        place.mkdir()
        (place / "run.yaml").write_text(_config(encoder, videos))
        ran(place, ("prepare", "run.yaml"))
        commands = ("extract-features", "run.yaml"), ("predict", str(trained), str(videos), "--output", "found", *ALL)
        for command in commands:
            run = _measure(place, work, command)
            runs[command[0]].append(run)
            took = ", ".join(f"{role} {seconds:.1f} s" for role, seconds in run.processor_s.items())
            what = f"{work.videos} videos of {work.seconds:g} s, {work.workers} workers"
            report(f"{command[0]}, {what}: {took}")
    return runs


def _config(encoder: str, videos: Path, annotations: str = "") -> str:
    name = f"name: {encoder}, short_side: 48" if encoder == "color" else f"name: {encoder}"
    config = COLOR.replace("name: color, short_side: 48", name).replace("videos: videos", f"videos: {videos}")
    if not annotations:
        config = config.replace("name: custom", "name: video_folder").replace("  annotations: labels.csv\n", "")
    return config.replace("fps: 4", "fps: 8").replace("num_workers: 0", "num_workers: 0\n  clip_batch: 8")


def _trained(folder: Path, encoder: str) -> Path:
    """A run after one step."""
    from scripts.benchmarks.extraction import make_video

    for name in ("a", "b"):
        make_video(folder / "videos" / f"{name}.mp4", "320x240", 6)
    rows = ["video,start,end,label,subset", "a,1,3,one,train", "a,4,6,two,train", "b,1,3,one,test", "b,4,6,two,test"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "run.yaml").write_text(_config(encoder, Path("videos"), "labels.csv"))
    for command in ("prepare", "extract-features"):
        ran(folder, (command, "run.yaml"))
    ran(folder, TRAIN.arguments, TRAIN.ends_with)
    return (folder / "ckpt/run").absolute()


def _measure(folder: Path, work: Work, arguments: Sequence[str]) -> Run:
    """Runs a command with Ray; raises RuntimeError with what it printed if it fails."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "NO_COLOR": "1"}
    environment |= {"RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": work.workers})}
    environment.pop("RAY_ADDRESS", None)
    started = time.monotonic()
    with (folder / "stderr").open("w") as stderr:
        command = [sys.executable, "-m", "actloc", *arguments, "--engine", "ray"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
        watched = Watched(process.pid)
        while process.poll() is None:
            watched.look()
            time.sleep(_POLL_S)
    if process.returncode:
        raise RuntimeError(f"actloc {' '.join(arguments)} failed: {(folder / 'stderr').read_text()[-2000:]}")
    return Run(work, watched.processor_s(), time.monotonic() - started)


class Watched:
    """Processor time by role of a process and all that it started, as Linux counts it, from looks at /proc."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._roles = {root: "command"}
        self._seconds: dict[int, float] = {}

    def look(self) -> None:
        """Once more at all processes."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = int(fields[1])
            if int(entry.name) in self._roles:
                self._seconds[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
        while found := {one: up for one, up in parents.items() if up in self._roles and one not in self._roles}:
            for process, parent in found.items():
                self._roles[process] = "workers" if self._roles[parent] == "workers" else "ray"
        for process, role in self._roles.items():
            if role == "ray" and process in parents and _command_of(process).startswith("ray::"):
                self._roles[process] = "workers"

    def processor_s(self) -> dict[str, float]:
        """Seconds of each role."""
        return {
            role: sum(self._seconds.get(one, 0.0) for one, of in self._roles.items() if of == role) for role in ROLES
        }


def _command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def table(runs: Mapping[str, Sequence[Run]]) -> str:
    """Markdown: what was measured, what was fitted, and what follows from it."""
    lines = ["Measured, processor seconds:", "", "| command | workers | videos | command | workers | Ray | wall |"]
    lines += ["|---|---:|---|---:|---:|---:|---:|"]
    for name, of in runs.items():
        for run in of:
            took = " | ".join(f"{run.processor_s[role]:.1f}" for role in ROLES)
            videos = f"{run.work.videos} of {run.work.seconds:g} s"
            lines.append(f"| `{name}` | {run.work.workers} | {videos} | {took} | {run.wall_s:.0f} |")
    lines += ["", "Fitted, processor seconds:", ""]
    lines += ["| command | processes | start | each worker | a video | an hour of it |"]
    lines += ["|---|---|---:|---:|---:|---:|"]
    costs = {name: {role: fitted(of, role) for role in ROLES} for name, of in runs.items()}
    for name, by_role in costs.items():
        for role, cost in by_role.items():
            cells = f"{cost.start_s:.1f} | {cost.worker_s:.1f} | {cost.video_s:.3f} | {cost.second_s * 3600:.1f}"
            lines.append(f"| `{name}` | {role} | {cells} |")
    what = f"{HOURS:,} hours in videos of {MINUTES_EACH} minutes, machines of {CORES} cores"
    lines += [
        "",
        f"Extrapolated, not measured: {what}:",
        "",
        "| command | machines | start | workers | last video | command | in all | longest part |",
    ]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---|"]
    for name, by_role in costs.items():
        if not by_role["workers"].second_s:  # 1,000 hours would seem to cost nothing
            lines.append(f"| `{name}` | {' | '.join(7 * '-')} |")
            continue
        for one in (expected(by_role, machines) for machines in MACHINES):
            parts = (one.start_s, one.workers_s, one.last_video_s, one.command_s, one.total_s)
            times = " | ".join(f"{seconds / 60:,.1f} min" for seconds in parts)
            lines.append(f"| `{name}` | {one.machines} | {times} | {one.limit} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write; `arguments` are those of the command line if left out."""
    import tempfile

    from actloc import console, files, provenance

    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description="Measure extraction and predict on Ray, and extrapolate to clusters."
    )
    parser.add_argument("--toy", action="store_true", help="two tiny runs: only to see that everything runs")
    parser.add_argument("--encoder", help="what makes features; default: efficientnet_lite0")
    parser.add_argument("--output", type=Path, default=Path("ckpt/bench_scale.json"), help="the JSON file to write")
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        parser.error("it reads processor times from /proc, which only Linux has")
    encoder = options.encoder or ("color" if options.toy else "efficientnet_lite0")
    with tempfile.TemporaryDirectory(prefix="actloc-bench-") as folder:
        runs = measured(Path(folder), TOY if options.toy else WORKS, encoder, console.say)
    console.result(table(runs))
    console.result(f"\n{encoder}, 240p, {provenance.machine()}, commit {provenance.commit()}")
    record = {"version": 1, "machine": provenance.machine(), "commit": provenance.commit(), "encoder": encoder}
    listed = {name: [asdict(run) for run in of] for name, of in runs.items()}
    files.write_json(options.output, {**record, "runs": listed})


if __name__ == "__main__":
    main()
