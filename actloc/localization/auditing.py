"""Predictions of a run for the videos whose annotations it judges, and of runs that did not see them."""

import hashlib
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.evaluation.predictions import Predictions
from actloc.experiment import Experiment, load
from actloc.localization import detecting
from actloc.settings.sameness import differences
from actloc.training.distributed import ALONE

FOLDER = "label_audit"
"""Of a run: the runs that are trained on the other folds."""


def audited(experiment: Experiment, annotations: Annotations) -> list[AnnotatedVideo]:
    """The videos of the training and the evaluation subset, without those of a subset that has no annotated action."""
    dataset = experiment.dataset
    found: dict[str, AnnotatedVideo] = {}
    for subset in (dataset.training_subset, dataset.evaluation_subset):
        videos = annotations.of_subset(subset)
        if any(video.actions for video in videos):
            found |= {video.id: video for video in videos}
    return list(found.values())


def predictions_of_run(experiment: Experiment, annotations: Annotations) -> Predictions:
    """What the run finds in the videos that are audited, those it was trained on among them."""
    return _detected(experiment, annotations, audited(experiment, annotations))


def cross_fitted(experiment: Experiment, annotations: Annotations, num_folds: int) -> Predictions:
    """What runs of the same settings find in videos that they were not trained on.

    The audited videos are split by their names; for each fold a run is trained on the others, in `label_audit` in the
    run's folder, and finds actions in its own. A call after a stop continues; a fold whose annotations or
    settings changed is trained anew.
    """
    from actloc.commands import train

    videos = audited(experiment, annotations)
    order = sorted(videos, key=lambda video: hashlib.sha256(video.id.encode()).hexdigest())
    if len(order) < num_folds:
        raise UserError(
            f"--folds {num_folds} is more than the {console.count(len(order), 'annotated video')}.",
            "Expected a video in each fold at least.",
            f"Set --folds {max(2, len(order))} or fewer, or leave it out",
        )
    found: Predictions = {}
    for number in range(num_folds):
        own = order[number::num_folds]
        console.say(f"Fold {number + 1} of {num_folds}: {console.count(len(own), 'video')} to judge")
        of_fold, is_changed = _fold(experiment, annotations, videos, own, f"fold_{number + 1}_of_{num_folds}")
        train.run(of_fold, overwrite=is_changed)
        found |= _detected(of_fold, annotations, own)
    return found


def _fold(
    experiment: Experiment, annotations: Annotations, videos: list[AnnotatedVideo], own: list[AnnotatedVideo], name: str
) -> tuple[Experiment, bool]:
    """The experiment that trains on the other videos, and whether it was trained on others, or otherwise, before."""
    dataset = experiment.dataset
    held = {video.id for video in own}
    sides = {True: "held_out", False: dataset.training_subset}
    moved = {video.id: replace(video, subset=sides[video.id in held]) for video in videos}
    text = annotation_form.to_text(replace(annotations, videos=moved))
    folder = experiment.run_folder / FOLDER / f"{name}_annotations"
    of_fold = dataset.model_copy(update={"folder": folder, "evaluation_subset": "held_out"})
    run = experiment.run.model_copy(update={"folder": experiment.run_folder / FOLDER, "name": name})
    # the fold's own videos must not choose its checkpoint
    training = experiment.training.model_copy(update={"validation_subset": None})
    result = experiment.with_section("dataset", of_fold).with_section("run", run).with_section("training", training)
    files.write_text(of_fold.annotations_file, text)
    copy, settings = result.run_folder / "annotations.json", result.run_folder / "config.yaml"
    is_changed = copy.is_file() and files.read_text(copy) != text
    if settings.is_file() and not is_changed:
        is_changed = bool(differences(load(str(settings)).shaping("weights"), result.shaping("weights"), "", ""))
    return result, is_changed


def _detected(experiment: Experiment, annotations: Annotations, videos: list[AnnotatedVideo]) -> Predictions:
    """Detections in these videos, whatever subset they are in."""
    judged = {video.id: replace(video, subset="judged") for video in videos}
    dataset = experiment.dataset.model_copy(update={"evaluation_subset": "judged"})
    experiment = experiment.with_section("dataset", dataset)
    scored = detecting.detected(experiment, replace(annotations, videos=judged), ALONE)
    left_out = {*scored.origin.missing, *scored.origin.too_long}
    return {video_id: found for video_id, found in scored.predictions.items() if video_id not in left_out}


def audit_file(experiment: Experiment) -> Path:
    """The table of everything that is suspicious."""
    return experiment.run_folder / "label_audit.csv"
