"""Predictions as `eval` or `predict` left them, or in a file of others: found by naming a run, a folder or a file."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation import prediction_files
from actloc.evaluation.predictions import PREDICTIONS_NAME, Claim, Predictions, predictions_of

_BY_VIDEO = "by_video"
"""The folder of `predict` that has all it found, also below the thresholds."""
_CLAIMS = TypeAdapter(list[Claim])


def read(source: Path) -> Predictions:
    """The predictions by video: all of them, also those that `predict` does not show.

    Raises UserError where there are none, or those of several calls of `eval`.
    """
    if not source.is_dir():
        return prediction_files.read(source)
    if (source / _BY_VIDEO).is_dir():
        return _of_videos(source)
    if (source / PREDICTIONS_NAME).is_file():
        return prediction_files.read(source / PREDICTIONS_NAME)
    found = sorted(source.glob(f"eval/*/{PREDICTIONS_NAME}"))
    if len(found) == 1:
        return prediction_files.read(found[0])
    if found:
        raise UserError(
            f"{source} has the results of {len(found)} subsets or settings: "
            f"{console.first_ten([path.parent.name for path in found])}.",
            "Expected those of one.",
            f"Name the folder, such as {found[0].parent}",
        )
    raise UserError(
        f"{source} has no predictions.",
        "Expected a run that eval has scored, a folder of results, or a file of predictions.",
        f"Score the run first: actloc eval {source}",
    )


def _of_videos(folder: Path) -> Predictions:
    found: Predictions = {}
    for file in sorted((folder / _BY_VIDEO).glob("*.json")):
        content = files.read_json(file)
        try:
            if content["failure"] is None:
                found[content["id"]] = predictions_of(_CLAIMS.validate_python(content["result"]["segments"]))
        except (LookupError, TypeError, ValidationError) as error:
            raise UserError(
                f"{file} has no segments: {error!r:.200}",
                "Expected what predict found with a run of the task localization.",
                "Run predict again: it replaces a damaged file.",
            ) from error
    return found
