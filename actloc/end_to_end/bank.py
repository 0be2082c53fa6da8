"""The memory bank of a run: the last known features of all clips, for those that a step does not encode.

A run owns its bank. It begins as a copy of stored features; after each step that was taken, the clips which the step
encoded replace theirs. (Cheng and Bertasius 2022, "TALLFormer", arXiv 2204.01680, section 3.3.)

RUN/bank/000000/  the copy, a feature store
RUN/bank/000120/  the videos that changed between the checkpoint before and the one after step 120, a store as well

A checkpoint names the generation of each video and has the step at which each row was written, so one rename commits
weights and bank together, and a killed process leaves files that no checkpoint names. Rows that changed since the last
checkpoint are in memory, and beyond a limit in a file without a name, which vanishes with the process.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import console, files
from actloc.end_to_end.changed_rows import ChangedRows, Rows
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import NotFiniteError, UserError
from actloc.settings.choices import Dtype
from actloc.store.store import FeatureStore

_MEMORY_BYTES = 512 << 20


class Exchange(Protocol):
    """What the bank needs of the processes of a job."""

    def gather(self, item: Any) -> list[Any]:  # Any: whatever is sent
        """The items of all processes, by rank; every process gets all of them."""


@dataclass(frozen=True)
class _Fresh:
    """Rows (S, v, C) of one video that a step has encoded, and the first row of each clip."""

    video_id: str
    first_rows: tuple[int, ...]
    rows: NDArray[Any]


class Bank:
    """The rows of every training video; all processes of a job hold the same.

    Rows are counted as in the video's stored features. Those before the first and after the last do not exist: they
    are read as zeros, and what is written there is dropped.
    """

    def __init__(self, folder: Path, *, dtype: Dtype, memory_bytes: int = _MEMORY_BYTES) -> None:
        self.folder = folder
        self.dtype = dtype
        self._generations: dict[str, int] = {}
        self._steps: dict[str, NDArray[np.int32]] = {}
        """The step at which each row was written; 0 for those of the copy."""
        self._changed = ChangedRows(folder, memory_bytes)
        """All rows of the videos that changed since the last checkpoint."""
        self._fresh: list[_Fresh] = []
        self._read_steps: list[NDArray[np.int32]] = []

    def begin(self, origin: FeatureStore, video_ids: Sequence[str]) -> dict[str, int]:
        """Writes the first generation: a copy of the features in `origin`, which never changes. One process calls it.

        Returns the number of rows of each video. Raises UserError if features are missing or damaged.
        """
        files.remove(self.folder)
        first = self._store(0)
        first.begin(origin.recipe() or {})
        num_rows = {}
        with console.progress("copying features into the run's bank", len(video_ids)) as bar:
            for video_id in video_ids:
                rows = np.ascontiguousarray(origin.read(video_id))
                info = first.write(video_id, rows, origin.info(video_id), self.dtype)
                num_rows[video_id] = info.steps
                bar(1)
        return num_rows

    def begun(self, num_rows: Mapping[str, int]) -> None:
        """Takes note of the first generation, as `begin` returned it; every process calls it."""
        self._generations = dict.fromkeys(num_rows, 0)
        self._steps = {video_id: np.zeros(number, np.int32) for video_id, number in num_rows.items()}
        self._changed.clear()

    def video_ids(self) -> set[str]:
        """The videos of which there are rows of any checkpoint."""
        return {one for folder in self.folder.glob("[0-9]*") for one in FeatureStore(folder).ids()}

    def state(self, step: int) -> dict[str, Any]:  # Any: JSON values
        """What the checkpoint after `step` keeps beside `tensors`: each video's generation, once `save` wrote it."""
        return {"generations": {**self._generations, **dict.fromkeys(self._changed, step)}}

    def tensors(self) -> dict[str, Tensor]:
        """The step at which each row (T,) of each video was written."""
        return {video_id: torch.from_numpy(steps) for video_id, steps in self._steps.items()}

    def load(self, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:  # Any: JSON values
        """Continues from what `state` and `tensors` returned; raises UserError if rows that they name are gone."""
        generations = {str(video_id): int(number) for video_id, number in state["generations"].items()}
        gone = [one for one, number in generations.items() if not self._store(number).has(one)]
        if gone:
            raise UserError(
                f"{self.folder} no longer has the rows of {console.first_ten(sorted(gone))} that the checkpoint names.",
                "Expected the memory bank as it was at that checkpoint: only the two newest checkpoints keep theirs.",
                "Resume from the newest checkpoint: leave out --resume. If its rows are gone, restore the folder, or "
                f"begin anew: actloc train {self.folder.parent} --overwrite. The last and the best checkpoint can "
                f"still be scored: actloc eval {self.folder.parent}",
            )
        self._generations = generations
        self._steps = {video_id: tensors[video_id].numpy().copy() for video_id in generations}
        self._changed.clear()

    def start_step(self) -> None:
        """Forgets what the last step encoded, if it was not taken."""
        self._fresh.clear()
        self._read_steps.clear()

    def completed(self, video_id: str, window: ClipWindow, encoded: Tensor) -> Tensor:
        """The vectors (S, C, v) of all clips of a window: those `encoded` in this step, and its own ones of the others.

        `commit` writes the encoded ones.
        """
        layout = window.layout
        stored = self.read(video_id, [layout.stored_row_of(clip) for clip in window.clips], layout.vectors_per_clip)
        self.add(video_id, [layout.stored_row_of(clip) for clip in window.encoded], encoded)
        return window.with_stored(encoded, stored)

    def read(self, video_id: str, first_rows: Sequence[int], count: int) -> Tensor:
        """Vectors (S, C, count) of clips: `count` rows from each of `first_rows` on, as float32."""
        rows = self._rows(video_id)
        found = np.zeros((len(first_rows), count, rows.shape[1]), np.float32)
        for clip, first in zip(found, first_rows, strict=True):
            own, there = _overlap(first, count, len(rows))
            clip[own] = rows[there]
            self._read_steps.append(self._steps[video_id][there].copy())
        return torch.from_numpy(found).transpose(1, 2)

    def add(self, video_id: str, first_rows: Sequence[int], vectors: Tensor) -> None:
        """Notes the vectors (S, C, v) that this step encoded; `commit` writes them.

        Raises NotFiniteError, or UserError for numbers that the stored type does not have.
        """
        rows = vectors.detach().float().transpose(1, 2).cpu().numpy()
        with np.errstate(over="ignore"):
            stored = rows.astype(self.dtype)  # at once, so that a resumed run reads the same numbers
        if not np.isfinite(rows).all():
            raise NotFiniteError(
                f"The encoder makes features of {video_id} that are not finite.",
                "Expected finite numbers; the checkpoints before this step are intact.",
                "Lower optimizer.learning_rate or features.encoder.rate_factor.",
            )
        if not np.isfinite(stored).all():
            raise UserError(
                f"The encoder makes features of {video_id} as large as {np.abs(rows).max():.3g}.",
                f"Expected numbers that fit {self.dtype}, in which the bank stores features.",
                "Set features.dtype=float32, and extract the first features again.",
            )
        self._fresh.append(_Fresh(video_id, tuple(first_rows), stored))

    def commit(self, step: int, steps_per_epoch: int, processes: Exchange) -> dict[str, float]:
        """Writes what all processes encoded in the `step`-th step; returns values for the log, or none.

        They are the median age of the rows that the step read, in steps, and the share older than an epoch.
        """
        read = np.concatenate([np.empty(0, np.int32), *self._read_steps])
        everywhere = processes.gather((self._fresh, read))
        for fresh, _ in everywhere:
            for one in fresh:
                if one.video_id not in self._changed:
                    self._changed.add(one.video_id, self._rows(one.video_id).astype(self.dtype, order="C"))
                steps = self._steps[one.video_id]
                for first, clip in zip(one.first_rows, one.rows, strict=True):
                    own, there = _overlap(first, len(clip), len(steps))
                    self._changed.write(one.video_id, there.start, clip[own])
                    steps[there] = step
        self.start_step()
        ages = step - np.concatenate([steps for _, steps in everywhere])
        if not len(ages):
            return {}
        return {
            "bank/median_age_steps": float(np.median(ages)),
            "bank/older_than_an_epoch": float(np.mean(ages > steps_per_epoch)),
        }

    def save(self, step: int) -> None:
        """Writes the changed videos as the generation of the checkpoint after `step`; one process calls it."""
        changed, store = list(self._changed), self._store(step)
        if not changed:
            return
        files.remove(store.folder)  # left by a process that was killed before its checkpoint was complete
        store.begin(self._store(self._generations[changed[0]]).recipe() or {})
        for video_id in changed:
            before, rows = self._store(self._generations[video_id]), self._changed.read(video_id)
            info = replace(before.info(video_id), weights_sha256=None)  # the rows are of weights of many steps
            store.write(video_id, np.asarray(rows, np.float32), info, self.dtype)

    def saved(self, step: int) -> None:
        """Takes note that the checkpoint after `step` is complete; every process calls it."""
        self._generations |= dict.fromkeys(self._changed, step)
        self._changed.clear()

    def keep(self, states: Iterable[Mapping[str, Any]]) -> None:  # Any: JSON values
        """Deletes the rows that none of these states of checkpoints name; one process calls it."""
        named: dict[int, set[str]] = defaultdict(set)
        for state in states:
            for video_id, number in state["generations"].items():
                named[int(number)].add(video_id)
        for folder in self.folder.iterdir():
            store = FeatureStore(folder)
            needed = named.get(int(folder.name), set()) if folder.name.isdecimal() else set()
            for video_id in set(store.ids()) - needed if needed else ():
                store.delete(video_id)
            if not needed:
                files.remove(folder)

    def _store(self, generation: int) -> FeatureStore:
        return FeatureStore(self.folder / f"{generation:06d}")

    def _rows(self, video_id: str) -> Rows:
        """All rows of a video, to read only."""
        if video_id in self._changed:
            return self._changed.read(video_id)
        try:
            return self._store(self._generations[video_id]).read(video_id)
        except UserError as error:
            raise UserError(
                error.found,
                "Expected the run's memory bank as training wrote it.",
                f"Resume from the checkpoint before: delete the newest one of {self.folder.parent}, then train again; "
                "if the rows are damaged there too, begin anew: --overwrite",
            ) from error


def _overlap(first: int, count: int, length: int) -> tuple[slice, slice]:
    """Which of `count` rows from row `first` on exist among `length`: their places in the clip, and in the video."""
    start, end = min(max(first, 0), length), min(max(first + count, 0), length)
    return slice(start - first, end - first) if end > start else slice(0, 0), slice(start, end)
