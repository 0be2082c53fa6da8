"""`eval` of a recogniser: what can be refused before the network is loaded, and then its evaluation."""

from pathlib import Path

from actloc.datasets.base import read_prepared
from actloc.errors import UserError
from actloc.evaluation import scores_hdf5
from actloc.experiment import Experiment
from actloc.reports import outputs
from actloc.runs import chosen_checkpoint
from actloc.runs.reuse import warn_of_changed_sources
from actloc.training.distributed import joined


def evaluate(experiment: Experiment, scores: Path | None) -> int:
    """Checks, then scores, writes and prints; the exit status is 3 if videos cannot be read."""
    suffixes = (".json", *scores_hdf5.SUFFIXES)
    if scores is not None and scores.suffix.lower() not in suffixes:
        raise UserError(
            f"--save-scores is {scores}.",
            f"Expected a file name that ends in {', '.join(suffixes[:-1])} or {suffixes[-1]}.",
            f"Name the file {scores.name}.json",
        )
    with joined(experiment.machine.device) as processes:
        if scores is not None:
            fix = "Name another file with --save-scores, or delete this one."
            processes.of_first(lambda: outputs.refuse_others([scores], fix=fix))
        annotations = read_prepared(experiment.dataset, experiment.arguments)
        warn_of_changed_sources(experiment, "The results are of")
        chosen_checkpoint.check(experiment)
        # imported after the checks, which answer faster without torch
        from actloc.recognition import evaluating

        return evaluating.evaluate_with(experiment, annotations, processes, scores)
