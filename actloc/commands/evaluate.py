"""`actloc eval CONFIG_OR_RUN`: scores a run, an official checkpoint or a predictions file; writes metrics."""

from pathlib import Path

from actloc.experiment import Experiment
from actloc.tasks.base import task_of


def run(experiment: Experiment, predictions: Path | None = None, scores: Path | None = None) -> int:
    """Scores, writes, prints the table; writes class scores to the file `scores` if there is one."""
    return task_of(experiment).evaluate(experiment, predictions, scores)
