"""A submission to Ego4D Moment Queries: detections, and at most 200 retrieved moments of each clip."""

from typing import ClassVar

from actloc.annotations import form as annotation_form
from actloc.evaluation.predictions import Predictions
from actloc.prediction_forms.base import PredictionFormConfig, as_json, rows_of
from actloc.settings.sections import OptionalInputFile

_MOST_RETRIEVED = 200


class Config(PredictionFormConfig):
    """Which classes are queried."""

    title: ClassVar[str] = "a submission of Ego4D Moment Queries"

    annotations: OptionalInputFile = None
    """annotations.json of `prepare`: the queries of a clip are the classes of its actions. null: all classes, as on the
    test clips, whose truth is hidden."""

    def text(self, predictions: Predictions) -> str:
        """Version 1.0 of the form."""
        detected = {clip: rows_of(listed) for clip, listed in predictions.items()}
        queried = None
        if self.annotations is not None:
            videos = annotation_form.read(self.annotations).videos
            queried = {clip: {action.label for action in video.actions} for clip, video in videos.items()}
        retrieved = {
            clip: [row for row in rows if queried is None or row["label"] in queried.get(clip, ())][:_MOST_RETRIEVED]
            for clip, rows in detected.items()
        }
        challenge = {"version": "1.0", "challenge": "ego4d_moment_queries"}
        return as_json({**challenge, "detect_results": detected, "retrieve_results": retrieved})
