"""What a task costs on a device: time, kernels, how much of the time the device works, and where it is waited for."""

import itertools
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from scripts.benchmarks.results import best_seconds

ROOT = Path(__file__).parents[2]
WARM_UP = 5  # runs: libraries load, kernels are chosen, the memory has its final size
PROFILED = 3  # runs: counts are the same in each
LONGEST = 12  # kernels that are listed
_COPIES = "Memcpy", "Memset"

Task = Callable[[], object]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work:
    """What a GPU did for one run of a task."""

    kernels: float
    copies: float
    """Copies from and to the GPU or inside it, and fills."""
    busy_ms: float
    """Time in which at least one kernel or copy ran."""
    longest: list[tuple[str, float, float]] = field(default_factory=list)
    """Names of the kernels that took longest in all, calls and milliseconds."""


@dataclass(frozen=True)
class Costs:
    """Of one run of a task; on a CPU there are no `work` and no `peak_mb`."""

    ms: float
    """The median, from CUDA event to CUDA event: it includes the time in which the GPU waits."""
    fastest_ms: float
    work: Work | None = None
    peak_mb: float | None = None
    """The most memory that torch gave out, weights included; MB are 2^20 bytes."""

    @property
    def busy(self) -> float | None:
        """The share of the time in which the device works; timed without, counted with the profiler."""
        return None if self.work is None else self.work.busy_ms / self.ms


def measured(task: Task, device: torch.device, repeats: int) -> Costs:
    """The costs of a run of `task`, from `repeats` runs that follow each other without a pause, after a warm-up."""
    if device.type != "cuda":
        seconds = best_seconds(task, repeats, device)
        return Costs(1000 * seconds, 1000 * seconds)
    for _ in range(WARM_UP):
        task()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for event in events[1:]:
        task()
        event.record()
    torch.cuda.synchronize(device)
    times = [start.elapsed_time(end) for start, end in itertools.pairwise(events)]
    peak_mb = torch.cuda.max_memory_allocated(device) / 2**20
    return Costs(median(times), min(times), work_of(task, device, PROFILED), peak_mb)


def work_of(task: Task, device: torch.device, runs: int) -> Work:
    """What the GPU does for a run, the mean of `runs`."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(runs):
            task()
        torch.cuda.synchronize(device)
    return noted_work(profiled.events(), runs)


def timed_work(task: Callable[[], Result], device: torch.device) -> tuple[float, Result, Work | None]:
    """Seconds of one run on the clock, what it returns, and what a GPU did for it."""
    if device.type != "cuda":
        started = time.perf_counter()
        result = task()
        return time.perf_counter() - started, result, None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        started = time.perf_counter()
        result = task()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    return seconds, result, noted_work(profiled.events(), 1)


def noted_work(found: Any, runs: int) -> Work:  # Any: torch does not type its events
    """The work of one run in the profiler's events of `runs`: those of the GPU, without the labels of the program."""
    events: list[Any] = [
        event
        for event in found or []
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    is_copy = [event.name.startswith(_COPIES) for event in events]
    total: dict[str, float] = defaultdict(float)
    calls = Counter(event.name for event in events)
    for event in events:
        total[event.name] += event.time_range.elapsed_us()
    longest = sorted(total, key=lambda name: -total[name])[:LONGEST]
    return Work(
        kernels=(len(events) - sum(is_copy)) / runs,
        copies=sum(is_copy) / runs,
        busy_ms=covered([(event.time_range.start, event.time_range.end) for event in events]) / 1000 / runs,
        longest=[(name, calls[name] / runs, total[name] / 1000 / runs) for name in longest],
    )


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of spans from a start to an end."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


def waits_of(task: Task, device: torch.device) -> dict[str, int]:
    """How often each line of actloc waits for the GPU in one run, as torch notices it; a CUDA graph cannot wait."""
    places: Counter[str] = Counter()

    def note(message: Warning | str, *_: object, **__: object) -> None:
        if "synchronizing CUDA operation" not in str(message):
            return
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ROOT / "actloc")]
        places[f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "torch"] += 1

    if device.type == "cuda":
        task()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            torch.cuda.set_sync_debug_mode("warn")
            try:
                task()
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return dict(places.most_common())


def captured(task: Task) -> Task:
    """A replay of everything that `task` starts on the GPU, as one CUDA graph: same memory, same shapes."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            task()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        task()
    return graph.replay
