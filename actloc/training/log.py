"""A run's numbers, from one call into `log.jsonl` and TensorBoard."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from actloc import console, files


class RunLog:
    """Writes one line per event; going on from step n cuts what an interrupted run wrote after it."""

    def __init__(self, folder: Path, first_step: int, *, writes: bool = True) -> None:
        self._writes = writes
        if not writes:  # another process of the same job does
            return
        self._file = folder / "log.jsonl"
        kept = [row for row in files.read_json_lines(self._file) if row["step"] <= first_step]
        files.write_json_lines(self._file, kept)
        self._board = SummaryWriter(str(folder / "tb"), purge_step=first_step + 1)

    def write(self, event: str, step: int, values: dict[str, float]) -> None:
        """One event after `step` steps; the names of the values are the same in both places.

        No clock is written: two equal runs write equal lines.
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
