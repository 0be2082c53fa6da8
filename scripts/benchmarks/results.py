"""What a benchmark says, and the unit of its times."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

Unit = Literal["s", "ms", "GFLOP", "MB", "kernels"]
PRODUCT_SIZE = 2048
PRODUCT_GFLOP = 2 * PRODUCT_SIZE**3 / 1e9
OFFICIAL_GFLOP_PER_S = 128.0  # spec: performance, section 1: the official step, one thread, float32


@dataclass(frozen=True)
class Result:
    """One line of the table; times are CPU time of the process in seconds or milliseconds."""

    name: str
    value: float | None
    """None where this version of actloc cannot do it."""
    unit: Unit
    official: float | None = None
    """What was recorded of the official code (spec: performance); None where nothing was."""
    note: str = ""

    def products(self, gflop_per_s: float, official: bool = False) -> float | None:
        """A time as a number of 2048-cubed products at `gflop_per_s`; None for what is no time."""
        value = self.official if official else self.value
        if value is None or self.unit not in ("s", "ms"):
            return None
        return (value if self.unit == "s" else value / 1000) * gflop_per_s / PRODUCT_GFLOP

    def ratio(self, gflop_per_s: float) -> float | None:
        """Ours as a share of the official: counts by counts, times by times in products."""
        if self.value is None or not self.official:
            return None
        ours, theirs = self.products(gflop_per_s), self.products(OFFICIAL_GFLOP_PER_S, official=True)
        return self.value / self.official if ours is None or theirs is None else ours / theirs


def best_seconds(task: Callable[[], object], repeats: int) -> float:
    """CPU time of the fastest of `repeats` runs after one that warms up."""
    task()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def product_rate(repeats: int) -> float:
    """GFLOP per second of CPU time of a 2048-cubed float32 product, the best of `repeats`."""
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE)
    return PRODUCT_GFLOP / best_seconds(lambda: left @ right, repeats)
