"""Logs a run's numbers to `log.jsonl` and TensorBoard in one call."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from actloc import console, files


class RunLog:
    """Writes one line per event; resuming from step n deletes the lines that an interrupted run wrote after it."""

    def __init__(self, folder: Path, first_step: int, *, writes: bool = True) -> None:
        self._writes = writes
        if not writes:  # the first process of the job does
            return
        self._file = folder / "log.jsonl"
        kept = [row for row in files.read_json_lines(self._file) if row["step"] <= first_step]
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writes:
            self._board.close()
