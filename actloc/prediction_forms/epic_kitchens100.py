"""A submission to EPIC-Kitchens-100 action detection: two runs, of verbs and of nouns, joined."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from actloc import console
from actloc.annotations import published
from actloc.errors import UserError
from actloc.evaluation import stored_predictions
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.prediction_forms.base import PredictionFormConfig, as_json
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_MOST_PER_VIDEO = 2000
_NUM_VERBS, _NUM_NOUNS = 97, 300
_Level = Annotated[int, Field(ge=0, le=5)]


class Config(PredictionFormConfig):
    """The run of the nouns, and the levels of supervision that the challenge asks for."""

    title: ClassVar[str] = "a submission of EPIC-Kitchens-100"
    example: ClassVar[str] = "nouns=ckpt/noun sls_pt=2 sls_tl=3 sls_td=3"

    nouns: InputFileOrFolder
    """The predictions of nouns, as IN has those of verbs: a run, a folder of results, or a file."""
    sls_pt: _Level
    """The level of supervision in pretraining, 0 to 5, as the challenge defines it."""
    sls_tl: _Level
    """The level of supervision in the labels of training, 0 to 5, as the challenge defines it."""
    sls_td: _Level
    """The level of the training data, 0 to 5, as the challenge defines it."""
    verb_classes: OptionalInputFile = None
    """EPIC_100_verb_classes.csv, the numbers of the labels; null: labels are numbers, or id_000, id_001, ..."""
    noun_classes: OptionalInputFile = None
    """EPIC_100_noun_classes.csv, as above."""

    def text(self, predictions: Predictions) -> str:
        """Version 0.2 of the form: each verb with the nouns that overlap it, the best 2,000 of each video."""
        nouns = stored_predictions.read(Path(self.nouns))
        without = sorted(predictions.keys() ^ nouns.keys())
        if without:
            videos = console.count(len(without), "video has", "videos have")
            console.warn(f"{videos} predictions of one run only, and so no actions: {console.first_ten(without)}")
        numbers = {
            "verb": _Numbers(self.verb_classes, "verb", _NUM_VERBS),
            "noun": _Numbers(self.noun_classes, "noun", _NUM_NOUNS),
        }
        results = {
            video_id: _joined(listed, nouns.get(video_id, []), numbers) for video_id, listed in predictions.items()
        }
        levels = {"sls_pt": self.sls_pt, "sls_tl": self.sls_tl, "sls_td": self.sls_td}
        return as_json({"version": "0.2", "challenge": "action_detection", **levels, "results": results})


class _Numbers:
    """The numbers of the labels of a run."""

    def __init__(self, file: Path | None, kind: str, most: int) -> None:
        named = published.read_class_names(file) if file else {}
        self._numbers, self._kind, self._most = {name: number for number, name in named.items()}, kind, most

    def of(self, label: str) -> int:
        """The number of a label; raises UserError if it has none."""
        written = re.fullmatch(r"(?:id_)?(\d+)", label)
        number = self._numbers.get(label, int(written[1]) if written else None)
        if number is None or number >= self._most:
            raise UserError(
                f"The {self._kind} {label!r} has no number.",
                f"Expected labels such as id_007, below {self._most}, or the table that numbers them.",
                f"Set {self._kind}_classes=EPIC_100_{self._kind}_classes.csv",
            )
        return number


def _joined(verbs: list[Prediction], nouns: list[Prediction], numbers: dict[str, _Numbers]) -> list[dict[str, Any]]:
    """The pairs of segments that overlap, with the product of their scores and the segment of the verb."""
    if not verbs or not nouns:
        return []
    verb_ends, noun_ends = (np.array([(one.start_s, one.end_s) for one in listed]) for listed in (verbs, nouns))
    starts = np.maximum(verb_ends[:, None, 0], noun_ends[None, :, 0])
    ends = np.minimum(verb_ends[:, None, 1], noun_ends[None, :, 1])
    scores = np.outer([one.score for one in verbs], [one.score for one in nouns])
    pairs = np.argwhere(ends > starts)
    pairs = pairs[np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")[:_MOST_PER_VIDEO]]
    rows = []
    for verb, noun in pairs.tolist():
        verb_number, noun_number = numbers["verb"].of(verbs[verb].label), numbers["noun"].of(nouns[noun].label)
        rows.append(
            {
                "verb": verb_number,
                "noun": noun_number,
                "action": f"{verb_number},{noun_number}",
                "score": float(scores[verb, noun]),
                "segment": [verbs[verb].start_s, verbs[verb].end_s],
            }
        )
    return rows
