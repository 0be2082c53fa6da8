"""The interface of forms of predictions: the files that challenges take."""

import json
from abc import abstractmethod
from typing import Any, ClassVar

from actloc.evaluation.predictions import Prediction, Predictions
from actloc.settings.sections import Part

KIND = "prediction_forms"
"""The kind of part that a form is."""


class PredictionFormConfig(Part):
    """A form of files, with what the user must state for it."""

    shapes = "nothing"

    title: ClassVar[str]
    """What such a file is, for messages: `a submission of ActivityNet`."""
    example: ClassVar[str] = ""
    """The settings that it needs, as they are typed."""

    @abstractmethod
    def text(self, predictions: Predictions) -> str:
        """The text of the file; raises UserError for labels that the challenge does not have."""


def rows_of(predictions: list[Prediction]) -> list[dict[str, Any]]:  # Any: JSON values
    """`label`, `score` and `segment` of each prediction, the best score first."""
    ranked = sorted(predictions, key=lambda one: -one.score)
    return [{"label": one.label, "score": one.score, "segment": [one.start_s, one.end_s]} for one in ranked]


def as_json(content: dict[str, Any]) -> str:  # Any: JSON values
    """The content as JSON, which has no numbers that are not finite."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
