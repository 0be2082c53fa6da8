"""A submission to ActivityNet: ids without `v_`, and what other data was used."""

from typing import ClassVar

from actloc.evaluation.predictions import Predictions
from actloc.prediction_forms.base import PredictionFormConfig, as_json, rows_of


class Config(PredictionFormConfig):
    """What the challenge asks about training."""

    title: ClassVar[str] = "a submission of ActivityNet"
    example: ClassVar[str] = "external_data=Kinetics-400"

    external_data: str | None
    """The data beside ActivityNet that anything was trained on, also the encoder; null: none was used."""

    def text(self, predictions: Predictions) -> str:
        """Version 1.3 of the form."""
        results = {video_id.removeprefix("v_"): rows_of(listed) for video_id, listed in predictions.items()}
        used = {"used": self.external_data is not None, "details": self.external_data or ""}
        return as_json({"version": "VERSION 1.3", "results": results, "external_data": used})
