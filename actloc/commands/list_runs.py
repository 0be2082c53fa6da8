"""What a list of runs shows of each: when it was worked on, from what it is made, how far it came, its results.

Only small files are read, and never torch, so that thousands of runs are listed in seconds.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation.results import ResultsHead
from actloc.evaluation.results_files import METRICS_NAME, read_record, task_of_results
from actloc.experiment import is_run, is_scored
from actloc.settings import yaml_text
from actloc.tasks.base import task_named

_CHECKPOINT = re.compile(r"ckpt_[0-9]{6,18}")
_NETWORKS = ("detector.name", "clips.encoder.name")
"""The settings that name the network, in runs of older versions."""


@dataclass(frozen=True)
class RunRow:
    """One run; what is unknown is None or empty."""

    folder: Path
    worked: datetime
    """When its files last changed."""
    num_bytes: int
    facts: dict[str, Any]
    """`config`, `task`, `dataset`, `network`, and the numbers of `videos`, `actions` or `clips`, and `classes`."""
    progress: str
    """How far training came."""
    results: list[str]
    """The number of each results folder, with its name and notes."""
    faults: list[str] = field(default_factory=list)
    """Why some of it is unknown."""

    def data(self) -> str:
        """The dataset and its training videos."""
        videos = self.facts.get("videos")
        counted = [console.count(videos, "video")] if isinstance(videos, int) else []
        return ", ".join([str(self.facts.get("dataset", "")), *counted])


def listed(folder: Path) -> list[RunRow]:
    """The runs below a folder and its subfolders, also folders with results of predictions files only, oldest first."""
    return sorted((_row(one) for one in found(folder)), key=lambda row: (row.worked, str(row.folder)))


def found(folder: Path) -> Iterator[Path]:
    """The run folders below a folder, by name; links that lead back are followed once."""
    yield from _found(folder, set())


def _found(folder: Path, seen: set[Path]) -> Iterator[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:  # nothing is there, or it is not ours to read
        return
    for path in inside:
        real = path.resolve()
        if real in seen:
            continue
        seen.add(real)
        if is_run(path) or is_scored(path):
            yield path
        else:
            yield from _found(path, seen)


def _row(folder: Path) -> RunRow:
    faults: list[str] = []
    times, num_bytes = list[float](), 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it is being replaced
                stat = (Path(place) / name).lstat()
                num_bytes += stat.st_size
                times += [] if name.startswith(files.LOCK_NAME) else [stat.st_mtime]
    worked = datetime.fromtimestamp(max(times, default=folder.stat().st_mtime)).astimezone()
    facts, progress = _facts(folder, faults), _progress(folder, faults)
    return RunRow(folder, worked, num_bytes, facts, progress, _results(folder, faults), faults)


def _facts(folder: Path, faults: list[str]) -> dict[str, Any]:
    """From the short record of the run; for runs of older versions from their settings and their command."""
    record = _object(folder / "environment.json", faults)
    if isinstance(record.get("run"), dict):
        return dict(record["run"])
    if not (folder / "config.yaml").is_file():
        return {}
    try:
        settings = yaml_text.read(folder / "config.yaml", []).data
    except UserError as error:
        faults.append(error.found)
        return {}
    facts = {"config": _config_in(record.get("command")), "task": _inside(settings, "task.name") or "localization"}
    facts["dataset"] = _inside(settings, "dataset.name")
    facts["network"] = next((name for key in _NETWORKS if (name := _inside(settings, key))), None)
    return {name: value for name, value in facts.items() if value is not None}


def _inside(settings: Any, key: str) -> str | None:  # Any: YAML values, not checked
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings if isinstance(settings, str) else None


def _config_in(command: object) -> str | None:
    """The config in a recorded command line: the word after `train` that is no option, nor an option's value."""
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    after = words[words.index("train") + 1 :] if "train" in words else []
    plain = [
        word
        for before, word in zip(["", *after], after, strict=False)
        if not word.startswith("-") and "=" not in word and before not in ("--code", "--resume")
    ]
    return plain[0] if plain else None


def _progress(folder: Path, faults: list[str]) -> str:
    """How far training came, by its newest checkpoint."""
    if not is_run(folder):
        return "predictions only"
    checkpoints = sorted(
        (path for path in folder.glob("ckpt_*") if _CHECKPOINT.fullmatch(path.name)),
        key=lambda path: int(path.name.removeprefix("ckpt_")),
    )
    if not checkpoints:
        return "no checkpoint yet"
    state = _object(checkpoints[-1] / "state.json", faults)
    if "converted" in state:
        return "converted"
    step, of, per_epoch = int(checkpoints[-1].name.removeprefix("ckpt_")), state.get("num_steps"), None
    if isinstance(state.get("steps_per_epoch"), int) and state["steps_per_epoch"] > 0:
        per_epoch = state["steps_per_epoch"]
    if (folder / "finished.json").is_file():
        epochs = f"{console.count(step // per_epoch, 'epoch')}, " if per_epoch else ""
        return f"finished, {epochs}{console.count(step, 'step')}"
    if not isinstance(of, int):
        return f"stopped at step {step}"
    return f"stopped at {step} of {of}{f', epoch {step // per_epoch} of {of // per_epoch}' if per_epoch else ''}"


def _results(folder: Path, faults: list[str]) -> list[str]:
    lines = []
    for metrics in sorted(folder.glob(f"eval/*/{METRICS_NAME}")):
        try:
            results: ResultsHead = read_record(metrics, task_named(task_of_results(metrics.parent)).results)
            lines.append(f"{metrics.parent.name}: {', '.join([results.headline(), *results.notes()])}")
        except (UserError, OSError) as error:
            faults.append(error.found if isinstance(error, UserError) else f"{metrics}: {error.strerror}")
            lines.append(f"{metrics.parent.name}: unreadable")
    return lines


def _object(path: Path, faults: list[str]) -> dict[str, Any]:
    """The object in a JSON file; empty with a fault if it is damaged, and without one if there is no file."""
    if not path.is_file():
        return {}
    try:
        content = files.read_json(path)
    except UserError as error:
        content = error.found
    except OSError as error:
        content = f"{path}: {error.strerror}."
    if isinstance(content, dict):
        return content
    faults.append(content if isinstance(content, str) else f"{path} holds no object.")
    return {}
