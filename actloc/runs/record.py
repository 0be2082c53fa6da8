"""Files next to a run's checkpoints: its settings, its environment, and whether it is finished."""

import sys
from pathlib import Path

from actloc import files, provenance
from actloc.experiment import Experiment, recorded_code
from actloc.settings import code_files
from actloc.training import checkpoint as checkpoints

_FINISHED = "finished.json"


def write_record(experiment: Experiment, folder: Path) -> None:
    """The settings, complete, and the environment; code of the user's own that earlier steps had is still named."""
    path, record = folder / "environment.json", provenance.record(experiment.dataset.annotations_file)
    before = files.read_json(path) if checkpoints.steps(folder) and path.is_file() else {}
    earlier = before.get("earlier_code", [])
    if code_files.changes(recorded_code(folder)) and before:
        earlier = [*earlier, before["code"]]
    files.write_json(path, {**record, "earlier_code": earlier} if earlier else record)
    header = f"# Settings of this run, complete. Made by: {' '.join(sys.argv)}\n"
    files.write_text(folder / "config.yaml", header.replace("\n", " ").strip() + "\n" + experiment.to_yaml())


def mark_finished(folder: Path, step: int) -> None:
    """Marks the run as finished, so that `train` does not continue it."""
    files.write_json(folder / _FINISHED, {"step": step, "checkpoint": checkpoints.last(folder).name})


def is_finished(folder: Path) -> bool:
    """Whether the run was trained to its end, and its last checkpoint still exists."""
    if not (folder / _FINISHED).is_file():
        return False
    return (folder / str(files.read_json(folder / _FINISHED)["checkpoint"])).is_dir()
