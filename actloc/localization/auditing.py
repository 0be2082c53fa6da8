"""The videos whose annotations a run judges, what it finds in them, and runs that do not see what they judge."""

import hashlib
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Fold:
    """Some of the audited videos, and the experiment of the run that is trained on the others."""

    experiment: Experiment
    videos: list[AnnotatedVideo]
    is_changed: bool
    """Whether its run was trained on other annotations or with other settings before."""


def folds(experiment: Experiment, annotations: Annotations, number: int) -> list[Fold]:
    """The audited videos, split by their names; runs of the same settings are to be trained in the run's folder.

    Writes the annotations of each. Raises UserError if there are fewer videos than folds.
    """
    videos = audited(experiment, annotations)
    order = sorted(videos, key=lambda video: hashlib.sha256(video.id.encode()).hexdigest())
    if len(order) < number:
        raise UserError(
            f"--folds {number} is more than the {console.count(len(order), 'annotated video')}.",
            "Expected a video in each fold at least.",
            f"Set --folds {max(2, len(order))} or fewer, or leave it out",
        )
    parts = [order[first::number] for first in range(number)]
    return [
        _fold(experiment, annotations, videos, own, f"fold_{place}_of_{number}") for place, own in enumerate(parts, 1)
    ]


def _fold(
    experiment: Experiment, annotations: Annotations, videos: list[AnnotatedVideo], own: list[AnnotatedVideo], name: str
) -> Fold:
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
    return Fold(result, own, is_changed)


def detected(experiment: Experiment, annotations: Annotations, videos: list[AnnotatedVideo]) -> Predictions:
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
