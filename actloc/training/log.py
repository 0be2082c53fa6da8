"""Logs a run's numbers to `log.jsonl` and TensorBoard in one call."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from torch.utils.tensorboard import SummaryWriter

from actloc import console, files

Item = TypeVar("Item")


class Waiting:
    """Measures which share of the time so far went into waiting for the next item."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._waited_s = 0.0

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time until each arrives."""
        iterator = iter(items)
        while True:
            before = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._waited_s += time.monotonic() - before
            yield item

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self._waited_s / max(time.monotonic() - self._started, 1e-9)


class RunLog:
    """Writes one line per event; resuming from step n deletes the lines that an interrupted run wrote after it."""

    def __init__(self, folder: Path, first_step: int, *, writes: bool = True) -> None:
        self._writes = writes
        if not writes:  # the first process of the job does
            return
        self._file = folder / "log.jsonl"
        rows = files.read_json_lines(self._file, skip_damaged=True)
        kept = [row for row in rows if isinstance(row.get("step"), int) and row["step"] <= first_step]
        files.write_json_lines(self._file, kept)
        self._board = SummaryWriter(str(folder / "tb"), purge_step=first_step + 1)

    def write(self, event: str, step: int, values: dict[str, float]) -> None:
        """Writes one event after `step` steps, with the same names of values in both places.

        Times are not written, so that two equal runs write equal lines.
        """
        if not self._writes:
            return
        row: dict[str, Any] = {"event": event, "step": step, **values}
        files.append_line(self._file, json.dumps(row, allow_nan=False))
        console.emit(event, step=step, **values)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def write_time(self, name: str, step: int, value: float) -> None:
        """Writes a time, or a share of time, to TensorBoard alone: it differs between equal runs."""
        if self._writes:
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writes:
            self._board.close()
