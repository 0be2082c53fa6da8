"""The part of `actloc doctor` that looks at a run: its results, its averaged weights, its loss."""

from actloc.annotations.model import Annotations
from actloc.diagnosis import low_map
from actloc.diagnosis.finding import Finding
from actloc.errors import UserError
from actloc.evaluation.predictions import PREDICTIONS_NAME, read_predictions
from actloc.evaluation.results import MOST_INITIAL_SHARE, Results, averages_caution
from actloc.evaluation.results_files import METRICS_NAME, read_record
from actloc.experiment import Experiment
from actloc.localization.other_predictions import changes
from actloc.runs.loss_curve import history_and_advice
from actloc.runs.result_folders import results_folder


def findings(experiment: Experiment, annotations: Annotations) -> list[Finding]:
    """Why the results are low, if they are, and what the training says about itself."""
    if "detector" not in experiment.sections:
        return []
    found: list[Finding] = []
    folder = results_folder(experiment, {})
    if not (folder / PREDICTIONS_NAME).is_file():
        fix = f"Run: actloc eval {experiment.run_arguments}"
        found.append(Finding("note", "not_scored", "The run is not scored yet", str(experiment.run_folder), fix))
    else:
        try:
            found += _low_map(experiment, annotations)
        except UserError as error:
            found.append(Finding("error", "run", error.found, str(folder), error.fix))
    return [*found, *_loss(experiment)]


def _low_map(experiment: Experiment, annotations: Annotations) -> list[Finding]:
    folder = results_folder(experiment, {})
    results = read_record(folder / METRICS_NAME, Results) if (folder / METRICS_NAME).is_file() else None
    features = experiment.features
    step_s = None
    if features.fps != "native" and features.resize_to is None:
        step_s = features.stride_frames * features.downsample / features.fps
    subset = experiment.dataset.evaluation_subset
    scored = low_map.Scored(annotations, subset, read_predictions(folder), experiment.evaluation, step_s)
    found = low_map.findings(scored, changes(experiment, annotations, results))
    trained = results.trained if results and results.weights == "averaged" else None
    is_named = any(one.kind == "averaged_weights" for one in found)
    if trained is not None and trained.initial_share > MOST_INITIAL_SHARE and not is_named:
        what = averages_caution(trained.initial_share, trained.step)
        fix = f"Run: actloc eval {experiment.run_arguments} evaluation.weights=raw"
        found.append(Finding("warning", "averaged_weights", what, "average.decay", fix, trained.initial_share))
    return found


def _loss(experiment: Experiment) -> list[Finding]:
    _, advice = history_and_advice(experiment)
    return [Finding("note", "training", line, str(experiment.run_folder)) for line in advice]
