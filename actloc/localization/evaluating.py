"""Scores a run, an official checkpoint or a predictions file; writes metrics and predictions."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.datasets.base import read_prepared
from actloc.devices import choose_device
from actloc.errors import UserError
from actloc.evaluation import class_scores, fusion, prediction_files, scoring
from actloc.evaluation.predictions import Predictions, write_predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import UNKNOWN_LABELS, UNKNOWN_VIDEOS, Results, write_results
from actloc.evaluation.scoring import Origin
from actloc.experiment import Experiment
from actloc.reports import tables
from actloc.runs.trained import TrainedDetector, load_official, load_trained
from actloc.sources.base import Source
from actloc.training.distributed import Processes, joined


def evaluate(experiment: Experiment, predictions: Path | None) -> int:
    """Detects or reads, scores, writes, prints the table; raises UserError if the subset has no actions."""
    _check_class_scores(experiment, predictions)
    with joined(choose_device(experiment.machine.device)) as processes:
        annotations = read_prepared(experiment.dataset, experiment.arguments)
        own: fusion.ClassRows = {}
        if predictions is None:
            found, own, origin = _detected(experiment, annotations, processes)
        else:
            found, origin = _read(experiment, annotations, predictions)
        return processes.of_first(lambda: _score(experiment, annotations, found, own, origin))


def _check_class_scores(experiment: Experiment, predictions: Path | None) -> None:
    """Checked first, because detection takes long."""
    scores = experiment.fusion.scores
    if scores == fusion.OWN and predictions is not None:
        raise UserError(
            f"fusion.scores is own, but {predictions} has no class scores of the detector.",
            "Expected a run to score, or class scores from elsewhere.",
            "Set fusion.scores=FILE, or keep the classes in the predictions: fusion.scores=null",
        )
    if isinstance(scores, Path) and not scores.is_file():
        raise UserError(
            f"fusion.scores is {scores}, which does not exist.",
            "Expected a file of class scores to fuse with the detections.",
            "Put the file there, set another with fusion.scores=FILE, or score without fusion: fusion.scores=null",
        )
    if isinstance(scores, Path):
        class_scores.read(scores, experiment.fusion.form, experiment.fusion.per)


def _score(
    experiment: Experiment, annotations: Annotations, found: Predictions, own: fusion.ClassRows, origin: Origin
) -> int:
    subset, protocol = experiment.dataset.evaluation_subset, PROTOCOLS[experiment.evaluation.protocol]
    if experiment.fusion.scores is not None:
        every_class = annotation_form.read(experiment.dataset.annotations_file)
        truth = scoring.truth_of(every_class, subset, protocol)
        found, classifier = fusion.with_classifier(
            found, own, truth, experiment.fusion, experiment.evaluation.tious, protocol
        )
        origin = replace(origin, classifier=classifier)
        annotations = annotations if experiment.fusion.rule == fusion.UNCHANGED else every_class
    truth = scoring.truth_of(annotations, subset, protocol)
    results = scoring.score(
        experiment.run.name, experiment.dataset.name, subset, truth, found, origin, experiment.evaluation
    )
    folder = scoring.results_folder(
        experiment.run_folder,
        subset,
        experiment.evaluation,
        of_file=origin.weights is None,
        has_true_classes=experiment.fusion.scores == fusion.TRUTH,
    )
    path = write_results(folder, results, write_predictions(folder, found))
    _report(results)
    console.say(f"Wrote {path} and predictions.json")
    console.emit("done", path=str(path), average_mAP=results.average_map)
    console.say(f"Next: actloc report {experiment.run_folder}")
    return 0


def _detected(
    experiment: Experiment, annotations: Annotations, processes: Processes
) -> tuple[Predictions, fusion.ClassRows, Origin]:
    trained = _trained(experiment, annotations)
    with closing(trained):
        source = _source(experiment, annotations, trained)
        listed = trained.localizer.detect(source, experiment.machine.num_workers, processes)
    found = scoring.to_predictions(listed, annotations.classes)
    missing = tuple(video.id for video in source.missing)
    origin = Origin(trained.checkpoint, experiment.evaluation.weights, experiment.run.seed, missing)
    return found, fusion.own_scores(listed), origin


def _read(experiment: Experiment, annotations: Annotations, path: Path) -> tuple[Predictions, Origin]:
    found = prediction_files.read(path, annotations.classes)
    if experiment.dataset.class_agnostic:
        only = annotations.classes[0]
        found = {video_id: [replace(one, label=only) for one in listed] for video_id, listed in found.items()}
    return found, Origin(f"predictions {path.name}, sha256 {files.sha256_of_file(path)[:12]}")


def _trained(experiment: Experiment, annotations: Annotations) -> TrainedDetector:
    """The detector to score; raises UserError where its classes are not those of the annotations."""
    if experiment.evaluation.weights_file is not None:
        return load_official(experiment, experiment.evaluation.weights_file, annotations.classes)
    trained = load_trained(experiment)
    if trained.classes != annotations.classes:
        raise UserError(
            f"The run was trained on the classes {', '.join(trained.classes)}.",
            f"{experiment.dataset.annotations_file} has {', '.join(annotations.classes)}.",
            "Evaluate on the annotations the run was trained with, or train on these: "
            f"actloc train {experiment.arguments} --overwrite",
        )
    return trained


def _source(experiment: Experiment, annotations: Annotations, trained: TrainedDetector) -> Source:
    """The features to score on; raises UserError where the detector was trained on others."""
    source = experiment.features.build(annotations, experiment.dataset.evaluation_subset, trained.live)
    if source.in_channels != trained.in_channels:
        raise UserError(
            f"The features have {source.in_channels} channels.",
            f"{trained.checkpoint} was trained on features with {trained.in_channels}.",
            "Set `features:` to the features that it was trained on.",
        )
    made_with, trained_with = source.encoder_weights_sha256, trained.encoder_weights_sha256
    if made_with and trained_with and made_with != trained_with:
        raise UserError(
            f"The features in {experiment.features.path} were made with encoder weights of sha256 {made_with}.",
            f"{trained.checkpoint} was trained on features made with {trained_with}.",
            f"Train on these: actloc train {experiment.arguments} --overwrite; or keep both with run.name=ANOTHER",
        )
    return source


def _report(results: Results) -> None:
    counts = results.counts
    if counts.videos_without_predictions:
        names = console.first_ten(counts.videos_without_predictions)
        videos = console.count(len(counts.videos_without_predictions), "video has", "videos have")
        missed = console.count(counts.truths_missed_there, "action there counts", "actions there count")
        console.warn(f"{videos} no predictions ({names}); {missed} as missed")
    if counts.predictions_of_unknown_videos:
        names = console.first_ten(counts.names[UNKNOWN_VIDEOS])
        false_positives = console.count(
            counts.predictions_of_unknown_videos,
            "prediction for a video outside the subset counts as a false positive",
            "predictions for videos outside the subset count as false positives",
        )
        console.warn(f"{false_positives}: {names}")
    if counts.unknown_labels:
        labelled = console.count(counts.unknown_labels, "prediction has a label", "predictions have labels")
        names = console.first_ten(counts.names[UNKNOWN_LABELS])
        console.warn(f"Ignored: {labelled} outside the dataset's classes: {names}")
    if counts.ties:
        tied = console.count(counts.ties, "prediction is", "predictions are")
        console.say(f"{tied} tied in score within their class; protocol {results.protocol} breaks the ties.")
    console.result_table(tables.as_rich(tables.map_table([results])))
    for table in tables.more_tables([results]):
        console.result_table(tables.as_rich(table))
