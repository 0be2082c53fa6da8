"""Reads a dataset in its original format and writes it in actloc's, converting videos if the settings ask for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations import model
from actloc.annotations.model import Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.extraction.converting import convert_videos
from actloc.settings.code_errors import wrong_return
from actloc.settings.sections import PreparationSettings
from actloc.signals import stopping_at_once
from actloc.video.labelled_clips import write_lists


def where_needed(dataset: DatasetConfig, preparation: PreparationSettings, check_inputs: Callable[[], object]) -> None:
    """Prepares the dataset if needed; of commands started together, one prepares and the others wait.

    `check_inputs` raises UserError if a file that the user must provide is missing; it is called before reading.
    """
    if not dataset.is_prepared():
        with files.taking_turns(dataset.folder):
            if not dataset.is_prepared():
                check_inputs()
                prepare(dataset, preparation)


def prepare(dataset: DatasetConfig, preparation: PreparationSettings, *, overwrite: bool = False) -> Annotations:
    """Writes the dataset's folder, prints the size of each subset, and returns the annotations.

    An outdated list of videos without actions is replaced; other annotations only with `overwrite`.
    """
    with files.locked(dataset.folder), stopping_at_once():
        collected = dataset.collect()
        if not isinstance(collected, Annotations):
            raise wrong_return(collected, "Annotations", dataset.collect)
        model.raise_problems(dataset.annotations_file, model.check(collected), dataset.folder)
        annotations = replace(collected, variant=dataset.variant)
        annotations = convert_videos(annotations, dataset.folder, preparation)
        text = annotation_form.to_text(annotations)
        _write(dataset.annotations_file, text, overwrite or not dataset.has_actions)
        if dataset.writes_lists:
            write_lists(annotations, dataset.folder)
    if dataset.variant:
        console.result(f"{dataset.name}: {dataset.variant}")
    for subset in (dataset.training_subset, dataset.evaluation_subset) if dataset.has_actions else ():
        videos = annotations.of_subset(subset)
        actions = sum(len(video.actions) for video in videos)
        classes = console.count(len(annotations.classes), "class", "classes")
        counts = f"{console.count(len(videos), 'video')}, {console.count(actions, 'action')} of {classes}"
        console.result(f"{subset}: {counts}")
    return annotations


def _write(path: Path, text: str, overwrite: bool) -> None:
    if path.exists() and files.read_text(path) == text:
        console.say(f"{path} is already complete")
        return
    if path.exists() and not overwrite:
        raise UserError(
            f"{path} exists, with other annotations than the current settings and files give.",
            "Expected no such file, or the same annotations.",
            "Replace it with --overwrite, or keep both: dataset.folder=ANOTHER_FOLDER",
        )
    files.write_text(path, text)
    console.say(f"Wrote {path}")
