"""Other predictions that a run could have made: of its last weights, or with looser limits; nothing is written."""

from contextlib import closing
from typing import Any

from actloc.annotations.model import Annotations
from actloc.diagnosis.low_map import Change
from actloc.evaluation import scoring
from actloc.evaluation.predictions import PREDICTIONS_NAME, Predictions, read_predictions
from actloc.evaluation.results import MOST_INITIAL_SHARE, Results, averages_caution
from actloc.experiment import Experiment
from actloc.runs.result_folders import results_folder
from actloc.runs.trained import load_trained
from actloc.training import checkpoint as checkpoints

_LOOSER = 10
_LOW = 0.3
"""The average mAP below which the last weights are tried, however little of the initial ones the averages have."""
_FEW = 2
"""Predictions for each true action, below which score thresholds are tried."""


def changes(experiment: Experiment, annotations: Annotations, results: Results | None) -> list[Change]:
    """What `eval` with other settings would score; detects again where no earlier `eval` did."""
    is_trained = bool(checkpoints.steps(experiment.run_folder))
    trained = results.trained if results else None
    share = trained.initial_share if trained else 0.0
    found = []
    is_low = results is not None and (results.average_map or 0.0) < _LOW
    may_be_better = share > MOST_INITIAL_SHARE or is_low
    if experiment.evaluation.weights == "averaged" and trained is not None and may_be_better:
        raw = experiment.with_section("evaluation", experiment.evaluation.model_copy(update={"weights": "raw"}))
        earlier = results_folder(raw, {})
        if (earlier / PREDICTIONS_NAME).is_file():
            predictions = read_predictions(earlier)
        elif is_trained:
            predictions = _detected(raw, annotations)
        else:
            predictions = None
        if predictions is not None:
            fix = f"Run: actloc eval {experiment.run_arguments} evaluation.weights=raw"
            if share > MOST_INITIAL_SHARE:
                fix = averages_caution(share, trained.step)
            found.append(_change("averaged_weights", "with the last weights, not the averaged ones", fix, predictions))
    for settings in _limits(experiment, results) if is_trained else ():
        listed = " ".join(f"{name}={value}" for name, value in settings.items())
        predictions = _detected(_with_settings(experiment, settings), annotations)
        fix = f"Run: actloc eval {experiment.run_arguments} {listed}"
        found.append(_change("limits", f"with {listed}", fix, predictions))
    return found


def _change(kind: str, what: str, fix: str, predictions: Predictions) -> Change:
    return Change(kind, what, fix, lambda _: predictions)


def _limits(experiment: Experiment, results: Results | None) -> list[dict[str, Any]]:  # Any: values of settings
    """Looser values of the limits that cut detections, and of the thresholds if there are few predictions."""
    if results is None:
        return []
    tried: list[dict[str, Any]] = []  # Any: as above
    cut = {name.partition("=")[0] for name in results.counts.cut_videos}
    for name in sorted(cut):
        section, _, key = name.partition(".")
        value = getattr(experiment.section(section), key)
        if value is not None:
            tried.append({name: value * _LOOSER})
    if results.counts.predictions < _FEW * results.counts.truths:
        looser: dict[str, Any] = {"suppression.min_score": 0.0}  # Any: as above
        if hasattr(experiment.detector, "score_threshold"):
            looser["detector.score_threshold"] = 0.0
        tried.append(looser)
    return tried


def _with_settings(experiment: Experiment, settings: dict[str, Any]) -> Experiment:  # Any: as above
    for name, value in settings.items():
        section, _, key = name.partition(".")
        changed = experiment.section(section).model_copy(update={key: value})
        experiment = experiment.with_section(section, changed)
    return experiment


def _detected(experiment: Experiment, annotations: Annotations) -> Predictions:
    trained = load_trained(experiment)
    with closing(trained):
        source = experiment.features.build(annotations, experiment.dataset.evaluation_subset, trained.live)
        listed = trained.localizer.detect(source, experiment.machine.num_workers)
    return scoring.to_predictions(listed, trained.classes)
