"""Scores a run, an official checkpoint or a predictions file; writes metrics and predictions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.datasets.base import read_prepared
from actloc.errors import EXIT_SOME_INPUTS_FAILED, UserError
from actloc.evaluation import class_scores, fusion, prediction_files, scoring
from actloc.evaluation.error_analysis.errors_file import ERRORS_NAME, write_errors
from actloc.evaluation.predictions import write_predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import MOST_INITIAL_SHARE, TOO_LONG, UNKNOWN_LABELS, UNKNOWN_VIDEOS, Results
from actloc.evaluation.results_files import METRICS_NAME, write_results
from actloc.evaluation.scoring import Origin
from actloc.experiment import Experiment, load
from actloc.localization.scored import Scored
from actloc.reports import epochs, tables
from actloc.runs import chosen_checkpoint
from actloc.runs.result_folders import measured_with, results_folder
from actloc.runs.results_board import write_board
from actloc.runs.reuse import warn_of_changed_sources
from actloc.training.distributed import joined


def evaluate(experiment: Experiment, predictions: Path | None) -> int:
    """Detects or reads, scores, writes, prints the table; the exit status is 3 if videos are too long.

    A subset without actions gets predictions only. Raises UserError for one without videos.
    """
    _check_class_scores(experiment, predictions)
    with joined(experiment.machine.device) as processes:
        annotations = read_prepared(experiment.dataset, experiment.arguments)
        warn_of_changed_sources(experiment, "The results are of")
        has_truth = _has_truth(experiment, annotations)
        if predictions is not None:
            return processes.of_first(lambda: _score(annotations, [_read(experiment, annotations, predictions)]))
        if not has_truth:
            console.say(
                f"There is nothing to score: no video of {experiment.dataset.evaluation_subset} has an annotated "
                "action. Its predictions will be written."
            )
        if experiment.evaluation.weights_file is None:
            chosen_checkpoint.check(experiment)
        experiment.features.require_features(annotations, experiment.dataset.evaluation_subset)
        # imported after the checks, which answer faster without torch
        from actloc.localization import detecting

        scored = [detecting.detected(experiment, annotations, processes)]
        run, weights = scored[0].origin.trained, experiment.evaluation.weights
        if has_truth and run is not None and weights == "averaged" and run.initial_share > MOST_INITIAL_SHARE:
            raw = experiment.evaluation.model_copy(update={"weights": "raw"})
            console.say("Scoring the last weights too")
            scored.append(detecting.detected(experiment.with_section("evaluation", raw), annotations, processes))
        return processes.of_first(lambda: (_score if has_truth else _write_unscored)(annotations, scored))


def _has_truth(experiment: Experiment, annotations: Annotations) -> bool:
    """Whether there is something to score; known before detection, which takes long."""
    videos = annotations.of_subset(experiment.dataset.evaluation_subset)
    if not videos:
        known = sorted({video.subset for video in annotations.videos.values()})
        raise UserError(
            f"{experiment.dataset.annotations_file} has no video in {experiment.dataset.evaluation_subset!r}.",
            f"Expected one of its subsets: {console.first_ten(known)}.",
            "Set dataset.evaluation_subset=NAME",
        )
    return any(video.actions for video in videos)


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


def _score(annotations: Annotations, scored: Sequence[Scored]) -> int:
    """Scores, writes and prints: first what the settings ask for, then other weights beside it."""
    _report(scored[0].experiment, [_results(annotations, one) for one in scored])
    console.say(f"Next: actloc report {scored[0].experiment.run_folder}")
    return EXIT_SOME_INPUTS_FAILED if scored[0].origin.too_long else 0


def _results(annotations: Annotations, scored: Scored) -> tuple[Path, Results]:
    """The path of the results that were written, and the results."""
    experiment, found, origin = scored.experiment, scored.predictions, scored.origin
    dataset, protocol = experiment.dataset, PROTOCOLS[experiment.evaluation.protocol]
    if experiment.fusion.scores is not None:
        every_class = annotation_form.read(dataset.annotations_file)
        truth = scoring.truth_of(every_class, dataset.evaluation_subset, protocol)
        most = experiment.fusion.most_detections
        num_cut = sum(len(listed) > most for listed in found.values())
        if num_cut and experiment.fusion.rule != fusion.UNCHANGED:
            origin = replace(origin, cut_videos={**origin.cut_videos, f"fusion.most_detections={most}": num_cut})
        found, classifier = fusion.with_classifier(
            found, scored.own, truth, experiment.fusion, experiment.evaluation.tious, protocol
        )
        origin = replace(origin, classifier=classifier)
        annotations = annotations if experiment.fusion.rule == fusion.UNCHANGED else every_class
    truth = scoring.truth_of(annotations, dataset.evaluation_subset, protocol)
    results = scoring.score(dataset.name, dataset.evaluation_subset, truth, found, origin, experiment.evaluation)
    found = scoring.within_annotated(truth, found)  # what reads these files judges all that is in them
    folder = results_folder(experiment, origin.changed, file=origin.file)
    predictions = write_predictions(folder, found)  # first: if this is killed, the report refuses the mixture
    write_errors(folder, results, found)
    path = write_results(folder, results, predictions)
    write_board(folder, results)
    return path, results


def _write_unscored(annotations: Annotations, scored: Sequence[Scored]) -> int:
    """Writes predictions of a subset without annotated actions, which nothing can be measured on."""
    (one,) = scored
    experiment, found = one.experiment, one.predictions
    if experiment.fusion.scores is not None:
        every_class = annotation_form.read(experiment.dataset.annotations_file)
        evaluation = experiment.evaluation
        protocol = PROTOCOLS[evaluation.protocol]
        truth = scoring.truth_of(every_class, experiment.dataset.evaluation_subset, protocol)
        found, _ = fusion.with_classifier(found, one.own, truth, experiment.fusion, evaluation.tious, protocol)
    folder = results_folder(experiment, one.origin.changed)
    files.remove(folder / METRICS_NAME)  # of other annotations, and of other predictions
    files.remove(folder / ERRORS_NAME)
    path = write_predictions(folder, found)
    number = sum(len(listed) for listed in found.values())
    console.result(f"Wrote {console.count(number, 'prediction')} for {console.count(len(found), 'video')} to {path}")
    console.emit("done", path=str(path), average_mAP=None)
    return EXIT_SOME_INPUTS_FAILED if one.origin.too_long else 0


def _read(experiment: Experiment, annotations: Annotations, path: Path) -> Scored:
    found = prediction_files.read(path, annotations.classes)
    if experiment.dataset.class_agnostic:
        only = annotations.classes[0]
        found = {video_id: [replace(one, label=only) for one in listed] for video_id, listed in found.items()}
    measured = measured_with(experiment, of_file=True)
    is_named = load(experiment.typed).run.name != experiment.run.name
    origin = Origin(
        f"predictions {path.name}, sha256 {files.sha256_of_file(path)[:12]}",
        experiment.run.name if is_named else path.name,
        file=path.name,
        settings=measured.settings,
        changed=measured.changed,
        annotations_sha256=files.sha256_of_file(experiment.dataset.annotations_file),
    )
    return Scored(experiment, found, {}, origin)


def _report(experiment: Experiment, written: Sequence[tuple[Path, Results]]) -> None:
    """Prints the numbers, then what limits them, then where they are."""
    path, results = written[0]
    every = [one for _, one in written]
    for table in [tables.map_table(every, with_cautions=False), *tables.more_tables(every)]:
        console.result_table(tables.as_rich(table))
    _report_limits(experiment, results)
    for line in epochs.told(experiment.run_folder, experiment.training.validation_subset, results):
        console.say(line)
    for where, _ in written:
        console.say(f"Wrote {where}, predictions.json and {ERRORS_NAME}")
    if results.trained is not None and not results.changed and not results.is_measured_on_training_videos():
        videos = console.count(results.counts.videos, "video")
        console.say(
            f"`actloc predict` shows what reaches the score thresholds of best F1 on these {videos} of {results.subset}"
        )
    interval = results.uncertainty.average_map if results.uncertainty else None
    ends = None if interval is None else [interval.low, interval.high]
    console.emit("done", path=str(path), average_mAP=results.average_map, average_mAP_interval=ends)


def _report_limits(experiment: Experiment, results: Results) -> None:
    """Prints what the numbers leave out, and why they may mean something else."""
    counts, actions = results.counts, {video.id: len(video.truth) for video in results.videos}

    def missed(video_ids: Sequence[str]) -> str:
        number = sum(actions.get(video_id, 0) for video_id in video_ids)
        return f"{console.count(number, 'action there counts', 'actions there count')} as missed"

    for caution in results.cautions():
        console.warn(caution)
    for line in counts.cut_lines():
        console.say(line)
    without = counts.videos_without_features
    if without:
        verb = console.count(len(without), "video has", "videos have")
        make = f". Make them: actloc extract-features {experiment.arguments}" if experiment.features.encoder else ""
        console.warn(f"{verb} no features ({console.first_ten(without)}); {missed(without)}{make}")
    told = {*without, *counts.names.get(TOO_LONG, ())}
    silent = [one for one in counts.videos_without_predictions if one not in told]
    if silent:
        verb = console.count(len(silent), "video has", "videos have")
        console.warn(f"{verb} no predictions ({console.first_ten(silent)}); {missed(silent)}")
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
