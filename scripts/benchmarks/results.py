"""The results of benchmarks, and the unit of their times."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Unit = Literal["s", "ms", "GFLOP", "MB", "kernels", "%"]
DeviceName = Literal["cpu", "cuda"]
CPU = torch.device("cpu")
PRODUCT_SIZE = 2048
PRODUCT_GFLOP = 2 * PRODUCT_SIZE**3 / 1e9
OFFICIAL_GFLOP_PER_S = 128.0  # of the recorded official training step, one thread, float32


@dataclass(frozen=True)
class Result:
    """One line of the table; times are CPU time of the process, or a GPU's own, in seconds or milliseconds."""

    name: str
    value: float | None
    """None if this machine cannot measure it."""
    unit: Unit
    official: float | None = None
    """The recorded number of the official code; None if there is none."""
    note: str = ""
    device: DeviceName = "cpu"
    """The device that it was measured on."""

    def products(self, gflop_per_s: float, official: bool = False) -> float | None:
        """A time in 2048-cubed products at `gflop_per_s`; None if the value is not a time."""
        value = self.official if official else self.value
        if value is None or self.unit not in ("s", "ms"):
            return None
        return (value if self.unit == "s" else value / 1000) * gflop_per_s / PRODUCT_GFLOP

    def ratio(self, gflop_per_s: float) -> float | None:
        """Our value divided by the official one; times are compared in products."""
        if self.value is None or not self.official:
            return None
        ours, theirs = self.products(gflop_per_s), self.products(OFFICIAL_GFLOP_PER_S, official=True)
        return self.value / self.official if ours is None or theirs is None else ours / theirs


def processor() -> str:
    """The processor's name from Linux, otherwise from Python."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def devices() -> list[torch.device]:
    """The CPU, and the GPU if there is one."""
    return [CPU, torch.device("cuda")] if torch.cuda.is_available() else [CPU]


def best_seconds(task: Callable[[], object], repeats: int, device: torch.device = CPU) -> float:
    """The fastest of `repeats` runs after one warm-up run, in CPU time, or between CUDA events on a GPU."""
    task()
    measure = _gpu_seconds if device.type == "cuda" else cpu_seconds
    return min(measure(task) for _ in range(repeats))


def cpu_seconds(task: Callable[[], object]) -> float:
    """Processor time of one run."""
    start = time.process_time()
    task()
    return time.process_time() - start


def _gpu_seconds(task: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    task()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def product_rate(repeats: int, device: torch.device = CPU) -> float:
    """GFLOP per second of a 2048-cubed float32 product on `device`, the best of `repeats`."""
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    return PRODUCT_GFLOP / best_seconds(lambda: left @ right, repeats, device)
