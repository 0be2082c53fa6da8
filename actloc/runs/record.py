"""Files next to a run's checkpoints: its settings, its environment, and whether it is finished."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from actloc import console, files, provenance
from actloc.errors import UserError
from actloc.experiment import Experiment, recorded_code
from actloc.reports.text import one_line
from actloc.settings import code_files
from actloc.training import checkpoint as checkpoints

_FINISHED = "finished.json"
_FILES = (
    *("config.yaml", "environment.json", _FINISHED, "log.jsonl", "bad_batch.json", "memory_budget.json", "best"),
    *("frozen.safetensors", "annotations.json", "initialised.json", "tb/events.out.tfevents.*"),
    *("report.html", "tables.md", "tables.csv", "errors.csv", "curves.csv"),
    *(
        "eval/**/metrics.json",
        "eval/**/predictions.json",
        "eval/**/errors.json",
        "eval/**/clips.csv",
        "eval/**/events.out.tfevents.*",
    ),
    *("label_audit.csv", "label_audit/*_annotations/annotations.json"),
    *("bank/*/store.json", "bank/*/.lock*", "bank/*/*.h5"),
)
"""What commands write into a run's folder, beside its checkpoints."""
_FOLDERS = ("tb", "eval/**/", "eval", "bank/*/", "bank", "label_audit/*/", "label_audit")


def write_record(experiment: Experiment, folder: Path, network: str, size: Mapping[str, int]) -> None:
    """The settings, complete, and the environment; code of the user's own that earlier steps had is still named.

    `network` and `size` say what is trained on how much, in short, for lists of runs.
    """
    path, record = folder / "environment.json", provenance.record(experiment.dataset.annotations_file)
    before = _before(path) if checkpoints.steps(folder) else {}
    earlier = before.get("earlier_code", [])
    if before and code_files.changes(recorded_code(folder)):
        earlier = [*earlier, before.get("code", [])]
    record["run"] = {
        "config": _config(experiment, folder, before.get("run")),
        "task": experiment.task.name,
        "dataset": experiment.dataset.name,
        "network": network,
        **size,
    }
    files.write_json(path, {**record, "earlier_code": earlier} if earlier else record)
    made_by = one_line(" ".join(sys.argv))  # YAML ends a comment at more characters than a line feed
    text = f"# Settings of this run, complete. Made by: {made_by}\n{experiment.to_yaml()}"
    files.write_text(folder / "config.yaml", text)


def _config(experiment: Experiment, folder: Path, before: object) -> str:
    """The config that the run is made from; for a run that was named itself, what its record said `before`."""
    known = before.get("config") if isinstance(before, dict) else None
    is_itself = experiment.file.parent.resolve() == folder.resolve()
    return known if is_itself and isinstance(known, str) else experiment.typed


def remove_run(folder: Path) -> None:
    """Deletes what actloc wrote into a run's folder; other files, such as a user's notes, stay."""
    checkpoints.remove_all(folder)
    for fold in folder.glob("label_audit/fold_*"):
        remove_run(fold)
        files.remove(fold / ".lock")  # nothing else would use it
    for pattern in _FILES:
        for path in folder.glob(pattern):
            files.remove(path)
    for pattern in _FOLDERS:
        for path in sorted(folder.glob(pattern), reverse=True):  # what is inside first
            with suppress(OSError):  # it has other files too
                path.rmdir()


def _before(path: Path) -> dict[str, Any]:  # Any: JSON values
    """The record of an earlier start; none if it is damaged, since it is written again."""
    try:
        content = files.read_json(path) if path.is_file() else {}
    except UserError as error:
        console.warn(f"{error.found} It is written again")
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("earlier_code", []), list) else {}


def config_of(folder: Path) -> str:
    """The config that the run was made from, as it was typed; the folder itself if that is not known."""
    block = _before(folder / "environment.json").get("run")
    config = block.get("config") if isinstance(block, dict) else None
    return config if isinstance(config, str) else str(folder)


def training_size(folder: Path) -> dict[str, int]:
    """The numbers of videos, actions or clips, and classes that the run is trained on; empty if unknown."""
    block = _before(folder / "environment.json").get("run")
    return {name: value for name, value in block.items() if type(value) is int} if isinstance(block, dict) else {}


def mark_finished(folder: Path, step: int) -> None:
    """Marks the run as finished, so that `train` does not continue it."""
    files.write_json(folder / _FINISHED, {"step": step, "checkpoint": checkpoints.last(folder).name})


def is_finished(folder: Path) -> bool:
    """Whether the run was trained to its end, and its last checkpoint still exists.

    Of a damaged record it is not known: training then continues from the last checkpoint, and writes it again.
    """
    path = folder / _FINISHED
    if not path.is_file():
        return False
    try:
        content = files.read_json(path)
    except UserError as error:
        content = error.found
    name = content.get("checkpoint") if isinstance(content, dict) else None
    if not isinstance(name, str):
        console.warn(f"{path} is damaged; it is written again")
        return False
    return checkpoints.is_name(name) and (folder / name).is_dir()
