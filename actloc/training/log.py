"""Logs a run's numbers and events to `log.jsonl` and TensorBoard in one call."""

import json
import os
import resource
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch.utils.tensorboard import SummaryWriter

from actloc import console, files
from actloc.prefetch import Waits

Item = TypeVar("Item")


class Pace:
    """Measures how long each step takes with its data, and which share of the time so far went into waiting for it."""

    def __init__(self) -> None:
        self._started = self._step_began = time.monotonic()
        self.waits = Waits()
        """Those for the data of a step."""

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time until each arrives."""
        self._step_began = time.monotonic()
        for item in self.waits.over(items):
            yield item
            self._step_began = time.monotonic()

    @property
    def step_s(self) -> float:
        """Seconds since the wait for the last item began: read when its step is taken."""
        return max(time.monotonic() - self._step_began, 1e-9)

    @property
    def waiting_share(self) -> float:
        """From 0 to 1."""
        return self.waits.seconds / max(time.monotonic() - self._started, 1e-9)

    def values(self) -> dict[str, float]:
        """Speed and memory for the log, after a step: they differ between equal runs."""
        return {
            "speed/seconds_per_step": self.step_s,
            "speed/steps_per_s": 1 / self.step_s,
            "time/waiting_for_data": self.waiting_share,
            **memory(),
        }


def memory() -> dict[str, float]:
    """The most memory in gigabytes that torch used on the GPU; without one, what this process has in memory now."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return {"memory/gpu_gb": torch.cuda.max_memory_allocated() / 1e9}
    pages = Path("/proc/self/statm")
    if pages.exists():
        return {"memory/resident_gb": int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9}
    return {"memory/resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9}  # bytes on macOS: the most


class RunLog:
    """Writes one line per step or event; resuming from step n deletes the lines of an interrupted run after it.

    Every line has the step, the epochs done and the time in UTC.
    """

    def __init__(self, folder: Path, first_step: int, steps_per_epoch: int, *, writes: bool = True) -> None:
        self._writes = writes
        self._steps_per_epoch = steps_per_epoch
        if not writes:  # the first process of the job does
            return
        self._file = folder / "log.jsonl"
        rows = files.read_json_lines(self._file, skip_damaged=True)
        kept = [row for row in rows if isinstance(row.get("step"), int) and row["step"] <= first_step]
        files.write_json_lines(self._file, kept)
        self._board = SummaryWriter(str(folder / "tb"), purge_step=first_step + 1)
        settings = folder / "config.yaml"
        if settings.is_file():  # Markdown: what is indented stays as it is
            lines = files.read_text(settings).splitlines()
            self._board.add_text("settings", "".join(f"    {line}\n" for line in lines), first_step)

    def write(self, event: str, step: int, values: dict[str, float]) -> None:
        """Writes numbers after `step` steps, with the same names in both places."""
        self.note(event, step, **values)
        if self._writes:
            console.emit(event, step=step, **values)
            epoch = {"train/epoch": step / self._steps_per_epoch} if event == "step" else {}
            for name, value in (epoch | values).items():
                self._board.add_scalar(name, value, step)

    def note(self, event: str, step: int, **facts: Any) -> None:  # Any: JSON values
        """Writes an event after `step` steps to the file alone."""
        if self._writes:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            row = {"event": event, "step": step, "epoch": round(step / self._steps_per_epoch, 4), "time": now, **facts}
            files.append_line(self._file, json.dumps(row, allow_nan=False))

    def flush(self) -> None:
        """Hands TensorBoard's lines to the system, so that a kill loses none before a checkpoint."""
        if self._writes:
            self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writes:
            self._board.close()
