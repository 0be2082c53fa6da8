"""`actloc convert SOURCE TARGET [CONFIG]`: converts an official checkpoint to a run, or a run to one."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import load
from actloc.settings import parts
from actloc.tasks.base import task_named, task_of
from actloc.training import checkpoint as checkpoints


def run(source: Path, target: Path, config: str | None, overrides: list[str] | None, code: Sequence[Path] = ()) -> int:
    """Converts a file to a run, and a folder (a run or a checkpoint) to a file."""
    parts.use_code(code)
    if source.is_dir():
        newest = source if (source / "manifest.json").is_file() else checkpoints.last(source)
        trained = checkpoints.load(newest).numbers["about"]["settings"]
        task = task_named(trained.get("task.name", "localization"))  # checkpoints older than the setting have none
        task.to_official(newest, target, None if config is None else load(config, overrides))
        console.result(f"Wrote {target}")
        console.emit("done", path=str(target))
        return 0
    if config is None:
        raise UserError(
            f"{source} needs a CONFIG to become a run.",
            "Expected the settings it was trained with: the file has no description of its network and no class names.",
            f"Run: actloc convert {shlex.join([str(source), str(target)])} CONFIG; list the configs: actloc ls configs",
        )
    experiment = load(config, overrides)
    made = task_of(experiment).to_run(source, target, experiment)
    console.result(f"Wrote {made}")
    console.emit("done", path=str(target), checkpoint=str(made))
    console.say(f"Next: actloc eval {target}")
    return 0
