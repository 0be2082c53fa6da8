"""What an evaluation scores."""

from dataclasses import dataclass

from actloc.evaluation import fusion
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.scoring import Origin
from actloc.experiment import Experiment


@dataclass(frozen=True)
class Scored:
    """The predictions of some weights of a run, or of a file, and where they come from."""

    experiment: Experiment
    predictions: Predictions
    own: fusion.ClassRows
    origin: Origin
