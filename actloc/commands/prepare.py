"""`actloc prepare CONFIG`: the dataset's raw form in, annotations.json and, where asked for, new videos out."""

import shlex
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.extraction.converting import convert_videos
from actloc.signals import stopping_at_once


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; a finished one is left as it is."""
    annotations = prepare(experiment, overwrite=overwrite)
    console.emit("done", path=str(experiment.dataset.annotations_file), videos=len(annotations.videos))
    console.say(f"Next: actloc {_following(experiment, annotations)}")
    return 0


def _following(experiment: Experiment, annotations: Annotations) -> str:
    """The command after this one."""
    has_files = any(video.file for video in annotations.videos.values())
    if experiment.encoder and has_files:
        return f"extract-features {experiment.arguments}"
    if experiment.dataset.has_actions:
        return f"train {experiment.arguments}"
    return shlex.join(["import-features", str(experiment.file), "STORE", *experiment.overrides])


def where_needed(experiment: Experiment) -> None:
    """Prepares what is not prepared; commands that start together wait for the one that does it."""
    if not experiment.dataset.is_prepared():
        with files.taking_turns(experiment.dataset.folder):
            if not experiment.dataset.is_prepared():
                prepare(with_inputs(experiment))


def with_inputs(experiment: Experiment) -> Experiment:
    """The experiment, once what the user brings is known to be there; raises UserError."""
    return load(str(experiment.file), list(experiment.overrides), check_inputs=True)


def prepare(experiment: Experiment, *, overwrite: bool = False) -> Annotations:
    """What `run` does, but for its last words; a list of videos without actions is replaced where it is old."""
    dataset = experiment.dataset
    with files.locked(dataset.folder), stopping_at_once():
        annotations = replace(dataset.collect(), variant=dataset.variant)
        annotations = convert_videos(annotations, dataset.folder, experiment.preparation)
        text = annotation_form.to_text(annotations)
        _write(dataset.annotations_file, text, overwrite or not dataset.has_actions)
    if dataset.variant:
        console.result(f"{dataset.name}: {dataset.variant}")
    for subset in (dataset.training_subset, dataset.evaluation_subset) if dataset.has_actions else ():
        videos = annotations.of_subset(subset)
        actions = sum(len(video.actions) for video in videos)
        console.result(f"{subset}: {len(videos)} videos, {actions} actions of {len(annotations.classes)} classes")
    _tell_missing(annotations, experiment)
    return annotations


def _tell_missing(annotations: Annotations, experiment: Experiment) -> None:
    """Names the videos without features, where features are made elsewhere; `train` then says what it does."""
    lacking = experiment.features.lacking(annotations)
    listing = experiment.dataset.folder / "missing_features.txt"
    if not lacking:
        files.remove(listing)
        return
    if len(lacking) == len(annotations.videos):
        rule = f"{experiment.features.path} has none: look at features.path, prefix and suffix"
    elif experiment.features.allow_missing:
        rule = "they are left out, and missed"
    else:
        rule = "`train` stops at them, unless features.allow_missing=true"
    names = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
    console.say(f"{len(lacking)} of {len(annotations.videos)} videos have no features ({rule}): {names}")
    files.write_text(listing, "".join(f"{video_id}\n" for video_id in lacking))


def _write(path: Path, text: str, overwrite: bool) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        console.say(f"{path} is already complete")
        return
    if path.exists() and not overwrite:
        raise UserError(
            f"{path} exists and holds other annotations than these settings and files give now.",
            "Expected nothing, or the same.",
            "Replace it with --overwrite, or keep both: dataset.folder=ANOTHER_FOLDER",
        )
    files.write_text(path, text)
    console.say(f"Wrote {path}")
