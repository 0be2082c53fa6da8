"""Reads a dataset in its original format and writes it in actloc's, converting videos if the settings ask for it."""

from collections.abc import Callable
from dataclasses import replace

from actloc import console, files
from actloc.annotations import annotated_time, beyond_end, class_counts, left_out, model, prepared, subsets
from actloc.annotations import form as annotation_form
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
    """Writes the dataset's folder, prints the size of each subset and the classes, and returns the annotations.

    Annotations that `prepare` wrote are replaced if the original ones have changed; others only with `overwrite`.
    """
    with files.locked(dataset.folder), stopping_at_once():
        collected = dataset.collect()
        if not isinstance(collected, Annotations):
            raise wrong_return(collected, "Annotations", dataset.collect)
        model.raise_problems(dataset.annotations_file, model.check(collected), dataset.folder)
        if dataset.has_actions:
            _check_actions(dataset, collected)
        annotations = replace(collected, variant=dataset.variant)
        annotations = convert_videos(annotations, dataset.folder, preparation)
        known = subsets.read(dataset.folder)
        sides = dataset.sides(collected)
        _write(dataset, annotations, overwrite=overwrite, sides=sides)
        if dataset.writes_lists:
            write_lists(annotations, dataset.folder)
        files.remove(model.problems_file(dataset.folder))  # of an earlier call; there are none now
    if dataset.variant:
        console.result(f"{dataset.name}: {dataset.variant}")
    if dataset.has_actions:
        _report(dataset, annotations, sides, known)
    if dataset.has_own_labels and (unused := left_out.read(dataset.folder)):
        listed = left_out.file_in(dataset.folder)
        console.result(f"Left out {left_out.summary(len(unused), annotations)}; all are listed in {listed}")
    return annotations


def _check_actions(dataset: DatasetConfig, annotations: Annotations) -> None:
    """Raises UserError if there is no action, or none in its video."""
    videos = annotations.videos.values()
    if not any(video.actions for video in videos):
        raise UserError(
            f"None of {console.count(len(annotations.videos), 'video')} has an action.",
            "Expected annotated actions, to learn from or to score.",
            "Check dataset.annotations; for videos without annotations, set dataset.name=video_folder",
        )
    if beyond_end.all_start_after_end(videos):
        raise UserError(
            f"Every action starts after the end of its video. {beyond_end.other_unit(videos)}.",
            "Expected start and end in seconds from the first frame.",
            "Convert the times, or check that the annotations are of these videos.",
        )


def _report(dataset: DatasetConfig, annotations: Annotations, sides: dict[str, str], known: dict[str, str]) -> None:
    """Prints the size of each subset, with its videos if the sides are kept, and the classes."""
    for subset in (dataset.training_subset, dataset.evaluation_subset):
        videos = annotations.of_subset(subset)
        actions = [action for video in videos for action in video.actions]
        present, every = len({action.label for action in actions}), len(annotations.classes)
        classes = f"{'' if present == every else f'{present} of '}{console.count(every, 'class', 'classes')}"
        named = f" ({console.first_ten(video.id for video in videos)})" if sides else ""
        size = f"{console.count(len(videos), 'video')}{named}"
        console.result(f"{subset}: {size}, {console.count(len(actions), 'action')} of {classes}")
    unlabelled = annotations.of_subset(subsets.UNLABELLED) if sides else []
    if unlabelled:
        names = console.first_ten(video.id for video in unlabelled)
        console.result(f"{subsets.UNLABELLED}: {console.count(len(unlabelled), 'video')} ({names})")
    if part := annotated_time.summary(annotations):
        console.result(part)
    class_counts.report(
        annotations, dataset.training_subset, dataset.evaluation_subset, has_own_labels=dataset.has_own_labels
    )
    elsewhere = subsets.moved(known, sides)
    new = [f"{name} in {sides[name]}" for name in sorted(sides.keys() - known.keys() - elsewhere.keys())]
    known = {**known, **{name: known[before[0]] for name, before in elsewhere.items()}}
    moved = [
        f"{name} from {known[name]} to {sides[name]}"
        for name in sorted(sides)
        if known.get(name, sides[name]) not in (sides[name], subsets.UNLABELLED)
    ]
    if sides:
        console.say(f"The subset of each video is kept in {subsets.file_in(dataset.folder)}")
    if known and new:
        console.say(f"New: {console.first_ten(new)}")
    if moved:
        console.warn(f"The annotations move videos to another subset: {console.first_ten(moved)}")


def _write(dataset: DatasetConfig, annotations: Annotations, *, overwrite: bool, sides: dict[str, str]) -> None:
    """Writes annotations.json, subsets.csv and prepared.json, unless annotations that we did not write would go."""
    path = dataset.annotations_file
    before = files.sha256_of_file(path) if path.exists() else None
    is_same = annotation_form.is_written(path, annotations)
    recorded = prepared.read(dataset.folder)
    is_ours = recorded is not None and recorded.annotations_sha256 == before
    if before and not (is_same or is_ours or overwrite or not dataset.has_actions):
        why = "was changed after `prepare` wrote it" if recorded else "was not written by this version of `prepare`"
        raise UserError(
            f"{path} {why}, and has other annotations than the current settings and files give.",
            "Expected no such file, the same annotations, or those that `prepare` wrote last.",
            "Replace it with --overwrite, or keep both: dataset.folder=ANOTHER_FOLDER",
        )
    if sides:
        subsets.write(dataset.folder, sides)
    if is_same:
        console.say(f"{path} is already complete")
    else:
        annotation_form.write(path, annotations)
        console.say(f"{'Replaced' if before else 'Wrote'} {path}")
    prepared.write(dataset.folder, path, dataset.sources())
