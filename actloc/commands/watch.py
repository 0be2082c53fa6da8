"""`actloc watch RUN SOURCE`: finds actions in a file, a pipe, a camera or a connection, as it comes."""

from contextlib import closing
from pathlib import Path

from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.tasks.base import task_of
from actloc.video.live import source_named

FILE_NAME = "segments.jsonl"


def run(
    experiment: Experiment,
    source: str,
    output: Path,
    *,
    every_s: float | None = None,
    longest_action_s: float | None = None,
    retry_s: float = 60.0,
    overwrite: bool = False,
) -> int:
    """Checks the source before anything is loaded, and watches it until it ends."""
    watched, task = source_named(source, retry_s), task_of(experiment)
    if not task.finds_actions:
        raise UserError(
            f"The task of this run is {task.name}.", "Expected a run that finds actions.", "Name a localization run."
        )
    file = output / FILE_NAME
    if file.exists() and not overwrite:
        raise UserError(
            f"{file} has what was found before.",
            "Expected a folder without it: segments of two sources are not mixed.",
            "Choose another --output, or replace it with --overwrite.",
        )
    with closing(task.watching(experiment, file, longest_action_s, every_s)) as watching:
        return watching.run(watched)
