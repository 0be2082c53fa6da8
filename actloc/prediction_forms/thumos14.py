"""A submission to THUMOS14: lines `video start end class_number score`."""

from typing import ClassVar

from actloc.datasets import thumos14
from actloc.errors import UserError
from actloc.evaluation.predictions import Predictions
from actloc.prediction_forms.base import PredictionFormConfig


class Config(PredictionFormConfig):
    """Classes have their official numbers, 7 to 97; nothing has to be stated."""

    title: ClassVar[str] = "a submission of THUMOS14"

    def text(self, predictions: Predictions) -> str:
        """A line for each prediction, each video's best score first."""
        numbers = {name: number for number, name in thumos14.CLASSES.items()}
        unknown = sorted({one.label for listed in predictions.values() for one in listed} - numbers.keys())
        if unknown:
            raise UserError(
                f"The label {unknown[0]!r} is no class of THUMOS14.",
                f"Expected its 20 classes: {', '.join(numbers)}.",
                "Name the predictions of a run that was trained on THUMOS14.",
            )
        lines = [
            f"{video_id} {one.start_s:.6g} {one.end_s:.6g} {numbers[one.label]} {one.score:.8g}\n"
            for video_id, listed in predictions.items()
            for one in sorted(listed, key=lambda one: -one.score)
        ]
        return "".join(lines)
