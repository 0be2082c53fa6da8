"""`actloc eval CONFIG_OR_RUN`: scores a trained run and stores metrics.json and predictions.json."""

from actloc import console
from actloc.annotations import Annotations
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.reports import tables
from actloc.reports.results import Predictions, Results, write_predictions, write_results
from actloc.tasks import scoring
from actloc.tasks.localization import choose_device, detect, evaluation_source, load_trained, read_annotations
from actloc.training.distributed import Processes, joined


def run(experiment: Experiment) -> int:
    """Detects, scores, writes, prints the table; raises UserError if the subset has no truth."""
    with joined(choose_device(experiment.machine.device)) as processes:
        return _run(experiment, processes)


def _run(experiment: Experiment, processes: Processes) -> int:
    annotations = read_annotations(experiment)
    trained = load_trained(experiment)
    if trained.classes != annotations.classes:
        raise UserError(
            f"The run was trained on the classes {', '.join(trained.classes)}.",
            f"{experiment.dataset.annotations_file} has {', '.join(annotations.classes)}.",
            "Evaluate on the annotations the run was trained with, or train again.",
        )
    source = evaluation_source(experiment, annotations)
    found = scoring.to_predictions(detect(experiment, trained.detector, source, processes), annotations.classes)
    missing = [video.id for video in source.missing]
    return processes.of_first(lambda: _score(experiment, annotations, found, trained.checkpoint, missing))


def _score(
    experiment: Experiment, annotations: Annotations, found: Predictions, checkpoint: str, missing: list[str]
) -> int:
    subset = experiment.dataset.evaluation_subset
    results = scoring.score(
        experiment,
        scoring.truth_of(annotations, subset),
        subset,
        found,
        checkpoint=checkpoint,
        missing=missing,
    )
    folder = scoring.results_folder(experiment)
    write_predictions(folder, found)
    path = write_results(folder, results)
    _tell(results)
    console.say(f"Wrote {path} and predictions.json")
    console.emit("done", path=str(path), average_mAP=results.average_map)
    console.say(f"Next: actloc report {experiment.run_folder}")
    return 0


def _tell(results: Results) -> None:
    counts = results.counts
    if counts.videos_without_predictions:
        names = ", ".join(counts.videos_without_predictions[:10])
        console.warn(
            f"{len(counts.videos_without_predictions)} videos have no predictions ({names}); "
            f"their {counts.truths_missed_there} actions count as missed"
        )
    console.result_table(tables.as_rich(tables.map_table([results])))
