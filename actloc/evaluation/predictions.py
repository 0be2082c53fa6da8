"""Predicted actions by video, and the file `predictions.json` in ActivityNet's format that stores them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

import actloc
from actloc import files
from actloc.evaluation.results import Record
from actloc.evaluation.results_files import read_record

PREDICTIONS_NAME = "predictions.json"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predicted action."""

    label: str
    score: float
    start_s: float
    end_s: float


Predictions = dict[str, list[Prediction]]
"""By video id."""


class Claim(Record):
    """A predicted action as it is stored."""

    label: str
    score: float
    segment: Annotated[list[float], Field(min_length=2, max_length=2)]


class _PredictionsFile(Record):
    version: str
    results: dict[str, list[Claim]]
    external_data: dict[str, object]


def claims_of(predictions: Sequence[Prediction]) -> list[Claim]:
    """Predictions in the form in which they are stored."""
    return [Claim(label=one.label, score=one.score, segment=[one.start_s, one.end_s]) for one in predictions]


def predictions_of(claims: Sequence[Claim]) -> list[Prediction]:
    """The predictions that `claims_of` was given."""
    return [Prediction(claim.label, claim.score, claim.segment[0], claim.segment[1]) for claim in claims]


def write_predictions(
    folder: Path,
    predictions: Predictions,
    external_data: Mapping[str, Any] = MappingProxyType({}),  # Any: JSON values
) -> Path:
    """Writes `predictions.json` into `folder`; returns its path. `external_data` is what else the format keeps."""
    path = folder / PREDICTIONS_NAME
    # a line for each video: indented JSON takes several times as long, seconds for 200,000 predictions
    videos = ",\n".join(
        f" {files.json_line(video_id)}: {files.json_line([_plain(one) for one in predicted])}"
        for video_id, predicted in predictions.items()
    )
    version, others = files.json_line(f"actloc {actloc.__version__}"), files.json_line(dict(external_data))
    files.write_text(path, f'{{"version": {version},\n"results": {{\n{videos}\n}},\n"external_data": {others}}}\n')
    return path


def _plain(one: Prediction) -> dict[str, Any]:  # Any: JSON values
    return {"label": one.label, "score": one.score, "segment": [one.start_s, one.end_s]}


def read_predictions(folder: Path) -> Predictions:
    """Reads the predictions in `folder`, each video's in the file's order; raises UserError like `read_results`."""
    content = read_record(folder / PREDICTIONS_NAME, _PredictionsFile)
    return {video_id: predictions_of(claims) for video_id, claims in content.results.items()}
