"""`actloc.evaluate(truth, predictions)`: the numbers of `actloc eval --predictions`, without files and settings."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actloc import console
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.evaluation import given, scoring
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import Results
from actloc.evaluation.scoring import Origin
from actloc.settings.choices import ProtocolName
from actloc.settings.sections import EvaluationSettings


def evaluate(
    truth: Any,
    predictions: Any,  # Any: of both: what is not checked yet
    *,
    tious: Sequence[float] | None,
    protocol: ProtocolName,
    subset: str | None,
    recall_at: Sequence[int],
    average_recall_at: Sequence[int],
    reading: Mapping[str, Any],
) -> Results:
    """See `actloc.evaluate`."""
    chosen = {} if tious is None else {"tious": tious}
    values = {"protocol": protocol, "recall_at": recall_at, "average_recall_at": average_recall_at, **chosen}
    settings: EvaluationSettings = given.settings(EvaluationSettings, values, "evaluation")
    annotations = given.annotations_of(truth, reading)
    scored = _subset(annotations, subset)
    found = given.predictions_of(predictions, annotations)
    true = scoring.truth_of(annotations, scored, PROTOCOLS[settings.protocol])
    if not any(true.actions.values()):
        raise UserError(
            f"There is no true action{f' in {scored}' if scored else ''}.",
            "Expected some to score predictions against.",
            "Check the truth, or choose another subset.",
        )
    used = {f"evaluation.{key}": value for key, value in settings.model_dump(mode="json").items() if key in _USED}
    origin = Origin("predictions of Python code", _name(predictions, "predictions"), settings=used)
    return scoring.score(_name(truth, "truth"), scored, true, found, origin, settings)


_USED = ("protocol", "tious", "threshold_tiou", "recall_at", "average_recall_at")


def _name(value: Any, otherwise: str) -> str:  # Any: not checked
    return Path(value).name if isinstance(value, str | os.PathLike) else otherwise


def _subset(annotations: Annotations, subset: str | None) -> str:
    """The subset to score; raises UserError if none has this name, or if there are several and none is named."""
    known = sorted({video.subset for video in annotations.videos.values()}, key=lambda one: (one != "train", one))
    if subset is None and len(known) > 1:
        raise UserError(
            f"The truth has the subsets {console.first_ten(one or '(none)' for one in known)}.",
            "Expected the name of the one to score.",
            f"Name it: evaluate(truth, predictions, subset={known[-1]!r})",
        )
    if subset is not None and not annotations.of_subset(subset):
        raise UserError(
            f"The truth has no video in {subset!r}.",
            f"Expected one of its subsets: {console.first_ten(one or '(none)' for one in known)}.",
            "Correct subset, or leave it out where there is only one.",
        )
    return subset if subset is not None else (known or [""])[0]
