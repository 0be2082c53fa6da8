"""The table of `scripts/bench suggest`: mAP against labelled seconds, of suggested windows and of random ones.

Two recordings are drawn for each seed and labelled whole; both ways start from them. Each further budget adds windows,
those that `actloc suggest` chooses with the run of the budget before, or random ones of the same length, in their order
until the labelled time reaches the budget: that of so many training recordings of mean length. The labels of a window
are those of the truth; an action that crosses its border is labelled to its end, and this time counts as labelled. The
last budget is everything. Every run takes about the same number of steps and keeps its last weights.

A run that is scored is not repeated, and a stopped one is resumed by its checkpoint; neither are windows chosen again.
"""

import argparse
import csv
import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock

from actloc import console
from actloc.annotations import form
from actloc.annotations.annotated_time import Span, merged
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from scripts.benchmarks.suggest_calls import CallError, Calls
from scripts.benchmarks.suggest_table import Row, show, write

_UNLABELLED = "unlabelled"
"""The subset of recordings without any labelled time."""
_WARM_UP_SHARE = 5
"""One epoch in five warms up, as in both configs, or nearly."""
_HAPT = ("../shared/data/hapt/hapt_raw.tar.xz", "shared/data/hapt/hapt_raw.tar.xz", "data/hapt/hapt_raw.tar.xz")

Labelled = dict[str, tuple[Span, ...]]
"""The labelled intervals of each training recording that has some."""


@dataclass(frozen=True)
class Data:
    """A data set, and how it is labelled."""

    name: str
    config: str
    budgets: tuple[int, ...]
    """In mean training recordings: the start, then those of the two ways; everything comes after them."""
    window_s: float
    num_steps: int
    """Optimizer steps of each run, about."""
    raw: str
    """The setting that names the original data."""


DATA = (
    Data("hapt", "hapt_imu_actionformer", (2, 4, 8, 16, 32), 30.0, 525, "dataset.raw"),
    Data("sample", "sample_efficientnet_actionformer", (2, 4, 6, 8, 12), 6.0, 300, "dataset.clips"),
)


def main() -> None:
    """Prepare, train, print, write."""
    options = _parser().parse_args()
    folder = options.folder / "toy" if options.toy else options.folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many runs as cores are faster than runs of several threads
    chosen = [_with_options(data, options) for data in DATA if options.only in (None, data.name)]
    seeds = [0] if options.toy else [int(seed) for seed in options.seeds.split(",")]
    raw = {"hapt": options.hapt, "sample": options.sample}
    with Calls() as calls:
        try:
            benches = [prepared(data, raw[data.name], folder, options, calls) for data in chosen]
        except CallError as failed:
            sys.exit(str(failed))
        if options.prepare:
            return
        settings = {one.data.name: asdict(one.data) for one in benches}
        lock, output = Lock(), options.output or folder / "table.json"

        def keep() -> None:
            with lock:  # written after each run, so that a stop loses none
                write(output, settings, {one.data.name: one.sorted_rows() for one in benches})

        chains = [work for one in benches for work in one.chains(seeds, keep)]
        failures = _run([*chains, *(work for one in benches for work in one.single_runs(seeds, keep))], options, calls)
    for one in benches:
        show(one.title, one.sorted_rows())
    console.say(f"Wrote {output}")
    if failures:
        sys.exit("\n".join(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench suggest", description="Compare suggested windows with random ones."
    )
    hapt = next((path for path in _HAPT if Path(path).exists()), _HAPT[-1])
    add = parser.add_argument
    add("--only", choices=[data.name for data in DATA], help="one of the data sets")
    add("--seeds", default="0,1,2", help="with commas between them")
    add("--processes", type=int, default=1, help="runs at a time, each of one thread")
    add("--steps", type=int, help="steps of each run; 525 for HAPT and 300 for the sample")
    add("--budgets", help="with commas: the start and those of both ways; 2,4,8,16,32 for HAPT, 2,4,6,8,12 else")
    add("--window-s", type=float, help="length of a window; 30 s for HAPT and 6 s for the sample")
    add("--hapt", type=Path, default=Path(hapt), help="HAPT as downloaded, or its folder")
    add("--sample", type=Path, default=Path("data/sample"), help="folder of the sample's clips")
    add("--folder", type=Path, default=Path("ckpt/bench_suggest"), help="folder for runs and the table")
    add("--output", type=Path, help="file for the table; table.json in the folder")
    add("--device", default="cpu", help="machine.device of the runs")
    add("--prepare", action="store_true", help="only prepare annotations and features")
    add("--toy", action="store_true", help="one seed, one budget, two epochs: only to see that all runs")
    return parser


def _with_options(data: Data, options: argparse.Namespace) -> Data:
    data = replace(data, num_steps=options.steps or data.num_steps, window_s=options.window_s or data.window_s)
    if options.budgets:
        data = replace(data, budgets=tuple(int(budget) for budget in options.budgets.split(",")))
    return replace(data, budgets=(2, 3), num_steps=4) if options.toy else data


def prepared(data: Data, raw: Path, folder: Path, options: argparse.Namespace, calls: Calls) -> "Bench":
    """The data set with annotations and features, which are made if they are missing."""
    own = folder / data.name
    settings = [f"dataset.folder={own / 'prepared'}", f"features.path={own / 'prepared/features'}"]
    settings += [f"{data.raw}={raw}", f"machine.device={options.device}"]
    if options.toy and data.name == "sample":
        settings += ["features.encoder.short_side=32", "features.encoder.crop=32"]
    if not (own / "prepared/complete").is_file():
        calls.actloc(own / "prepared.log", "prepare", data.config, *settings)
        if data.name == "sample":  # HAPT's features are made by `prepare`
            calls.actloc(own / "prepared.log", "extract-features", data.config, *settings)
        (own / "prepared/complete").write_text("")
    record, now = own / "settings.json", json.dumps(asdict(data), indent=1)
    if record.is_file() and record.read_text() != now:
        raise CallError(f"{own} has runs of other settings ({record}). Choose another --folder.")
    record.write_text(now)
    return Bench(data, own, settings, form.read(own / "prepared/annotations.json"), calls)


@dataclass
class Bench:
    """One data set's runs."""

    data: Data
    folder: Path
    settings: list[str]
    truth: Annotations
    calls: Calls
    rows: list[Row] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What is compared."""
        total_s = sum(_duration(video) for video in self._training)
        return (
            f"{self.data.config}, about {self.data.num_steps} steps per run, windows of {self.data.window_s:g} s, "
            f"{len(self._training)} training recordings of {total_s:.0f} s"
        )

    @property
    def _training(self) -> list[AnnotatedVideo]:
        return sorted(self.truth.of_subset("train"), key=lambda video: video.id)

    def chains(self, seeds: Sequence[int], keep: Callable[[], None]) -> list[Callable[[], None]]:
        """The start and the suggestions of each seed, one after another; `keep` is called after each run."""
        return [partial(self._suggested, seed, keep) for seed in seeds]

    def single_runs(self, seeds: Sequence[int], keep: Callable[[], None]) -> list[Callable[[], None]]:
        """All others, each of which needs no other."""
        return [
            partial(work, seed, budget, keep)
            for seed in seeds
            for budget, work in (
                *((budget, self._random) for budget in self.data.budgets[1:]),
                (len(self._training), self._everything),
            )
        ]

    def sorted_rows(self) -> list[Row]:
        """The scored runs, by budget."""
        return sorted(self.rows, key=lambda row: (row.budget, row.way, row.seed))

    def _suggested(self, seed: int, keep: Callable[[], None]) -> None:
        name, labelled = "start", start(self._training, self.data.budgets[0], seed)
        self._score(seed, "start", self.data.budgets[0], labelled)
        keep()
        for budget in self.data.budgets[1:]:
            run, name = self.folder / f"seed_{seed}" / name, f"suggest_{budget}"
            windows = self._windows_of(run, self.folder / f"seed_{seed}" / f"{name}_windows", labelled, budget)
            labelled = revealed(self._training, labelled, windows, self._seconds(budget))
            self._score(seed, "suggest", budget, labelled)
            keep()

    def _windows_of(self, run: Path, output: Path, labelled: Labelled, budget: int) -> list[tuple[str, Span]]:
        """What `actloc suggest` chooses with a run, the best first."""
        if not (output / "suggested.csv").is_file():
            minutes = (self._seconds(budget) - num_seconds(labelled)) / 60
            what = ("--minutes", f"{minutes:.4f}", "--window-s", f"{self.data.window_s:g}", "--output", str(output))
            self.calls.actloc(output.with_suffix(".log"), "suggest", str(run), *what)
        rows = csv.DictReader((output / "suggested.csv").read_text().splitlines())
        return [(row["video"], (float(row["start_s"]), float(row["end_s"]))) for row in rows]

    def _random(self, seed: int, budget: int, keep: Callable[[], None]) -> None:
        labelled = start(self._training, self.data.budgets[0], seed)
        windows = random_windows(self._training, labelled, self.data.window_s, seed)
        self._score(seed, "random", budget, revealed(self._training, labelled, windows, self._seconds(budget)))
        keep()

    def _everything(self, seed: int, budget: int, keep: Callable[[], None]) -> None:
        self._score(seed, "all", budget, {one.id: ((0.0, _duration(one)),) for one in self._training})
        keep()

    def _seconds(self, budget: int) -> float:
        total_s = sum(_duration(video) for video in self._training)
        return total_s * budget / len(self._training)

    def _score(self, seed: int, way: str, budget: int, labelled: Labelled) -> None:
        """Trains and scores a run, and adds its row."""
        from actloc.evaluation.results_files import read_results

        name = way if way in ("start", "all") else f"{way}_{budget}"
        folder = self.folder / f"seed_{seed}"
        annotations = folder / f"{name}_annotations"
        form.write(annotations / "annotations.json", labelled_truth(self.truth, labelled))
        epochs, warm_up = schedule(len(labelled), self.data.num_steps)
        settings = [
            *self.settings,
            f"dataset.folder={annotations}",
            f"run.folder={folder}",
            f"run.name={name}",
            f"run.seed={seed}",
            f"schedule.epochs={epochs}",
            f"schedule.warmup_epochs={warm_up}",
        ]
        if not (folder / name / "eval/test/metrics.json").is_file():
            for command in ("train", "eval"):
                self.calls.actloc(folder / f"{name}.log", command, self.data.config, *settings)
        average_map = 100 * read_results(folder / name / "eval/test").average_map
        num_steps = (epochs + warm_up) * _steps_per_epoch(len(labelled))
        self.rows.append(Row(way, budget, seed, num_seconds(labelled), len(labelled), num_steps, average_map))
        console.say(
            f"{self.data.name}, seed {seed}, {name}: {num_seconds(labelled):.0f} s of "
            f"{console.count(len(labelled), 'recording')}, {num_steps} steps, mAP {average_map:.2f}"
        )


def start(training: Sequence[AnnotatedVideo], number: int, seed: int) -> Labelled:
    """Recordings that are labelled whole before anything is chosen."""
    drawn = random.Random(f"start {seed}").sample(list(training), number)
    return {video.id: ((0.0, _duration(video)),) for video in sorted(drawn, key=lambda video: video.id)}


def random_windows(
    training: Sequence[AnnotatedVideo], labelled: Labelled, window_s: float, seed: int
) -> list[tuple[str, Span]]:
    """Windows that cover all recordings without labelled time, in random order; the first and last may be shorter."""
    draw = random.Random(f"windows {seed}")
    windows = []
    for video in training:
        if video.id in labelled:  # at the start, recordings are labelled whole or not at all
            continue
        borders = [0.0, draw.uniform(0, window_s)]
        while borders[-1] < _duration(video):
            borders.append(borders[-1] + window_s)
        borders[-1] = _duration(video)
        windows += [(video.id, ends) for ends in itertools.pairwise(borders)]
    draw.shuffle(windows)
    return windows


def revealed(
    training: Sequence[AnnotatedVideo], labelled: Labelled, windows: Sequence[tuple[str, Span]], seconds: float
) -> Labelled:
    """Adds windows in their order until the labelled time reaches `seconds`; actions are labelled to their ends."""
    by_id, result = {video.id: video for video in training}, dict(labelled)
    for video_id, window in windows:
        if num_seconds(result) >= seconds:
            break
        video, before = by_id[video_id], ()
        within = merged([*result.get(video_id, ()), (window[0], min(window[1], _duration(video)))])
        while within != before:  # an action that was extended to may overlap another one
            before = within
            touched = [(max(0.0, a.start_s), min(a.end_s, _duration(video))) for a in _inside(video, within)]
            within = merged([*within, *touched])
        result[video_id] = within
    return result


def labelled_truth(truth: Annotations, labelled: Labelled) -> Annotations:
    """The true actions of the labelled time; recordings without any are in a subset of their own, without actions."""
    videos = dict(truth.videos)
    for video in truth.of_subset("train"):
        spans = labelled.get(video.id)
        if spans is None:
            videos[video.id] = replace(video, subset=_UNLABELLED, actions=(), annotated=())
        else:
            is_whole = spans == ((0.0, _duration(video)),)
            actions = tuple(_inside(video, spans))
            videos[video.id] = replace(video, actions=actions, annotated=() if is_whole else spans)
    return replace(truth, videos=videos)


def schedule(num_recordings: int, num_steps: int) -> tuple[int, int]:
    """Epochs after the warm-up, and of it, that give about so many steps."""
    every = max(2, round(num_steps / _steps_per_epoch(num_recordings)))
    warm_up = max(1, round(every / _WARM_UP_SHARE))
    return every - warm_up, warm_up


def num_seconds(labelled: Labelled) -> float:
    """The labelled time."""
    return sum(end - start for spans in labelled.values() for start, end in spans)


def _inside(video: AnnotatedVideo, spans: Sequence[Span]) -> list[Action]:
    return [a for a in video.actions if any(a.start_s < end and a.end_s > start for start, end in spans)]


def _steps_per_epoch(num_recordings: int) -> int:
    return -(-num_recordings // 2)  # training.batch_size of both configs


def _duration(video: AnnotatedVideo) -> float:
    assert video.duration_s is not None, f"{video.id} has a duration, as all of these data sets"
    return video.duration_s


def _run(works: Sequence[Callable[[], None]], options: argparse.Namespace, calls: Calls) -> list[str]:
    """Does everything that can be done, the longest first; returns what failed, in words."""
    failures = []
    with ThreadPoolExecutor(options.processes) as pool:
        futures: list[Future[None]] = [pool.submit(work) for work in works]
        try:
            for future in as_completed(futures):
                failed = future.exception()
                if isinstance(failed, CallError):
                    failures.append(str(failed))
                elif failed is not None:
                    raise failed
        except BaseException:
            calls.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


if __name__ == "__main__":
    main()
