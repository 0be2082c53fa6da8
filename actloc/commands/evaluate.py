"""`actloc eval CONFIG_OR_RUN`: scores a run, an official checkpoint or a predictions file; writes metrics."""

from pathlib import Path

from pydantic import ValidationError

from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.settings.sections import RunSettings
from actloc.tasks.base import task_of


def run(
    experiment: Experiment, predictions: Path | None = None, scores: Path | None = None, name: str | None = None
) -> int:
    """Scores, writes, prints the table; writes class scores to the file `scores` if there is one.

    `name` says whose `predictions` they are; their results are kept under it, beside the runs.
    """
    named = experiment if name is None else _named(experiment, predictions, name)
    return task_of(named).evaluate(named, predictions, scores)


def _named(experiment: Experiment, predictions: Path | None, name: str) -> Experiment:
    if predictions is None:
        raise UserError(
            f"--name {name} was given without --predictions.",
            "Expected a file of predictions, whose results are kept under the name.",
            "Add --predictions FILE; a run keeps the name that it was trained with.",
        )
    try:
        section = RunSettings.model_validate({**experiment.run.model_dump(), "name": name})
    except ValidationError as error:
        raise UserError(
            f"--name is {name!r}.",
            "Expected letters, digits, spaces and . _ + - only: the results are kept in a folder of this name.",
            "Choose another name.",
        ) from error
    return experiment.with_section("run", section)
