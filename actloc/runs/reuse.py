"""What a run was made of, compared with what there is now, whenever the run is used again."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations import prepared
from actloc.annotations.changes import Changes, changes
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.evaluation.results import MOST_INITIAL_SHARE, TrainedRun, averages_caution
from actloc.experiment import Experiment
from actloc.runs.record import is_finished
from actloc.settings import own_code
from actloc.settings.sections import AverageSettings
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.training.initial_share import initial_share

_COPY = "annotations.json"


def starts_anew(experiment: Experiment, *, overwrite: bool) -> bool:
    """Whether training begins with the first step."""
    return overwrite or not checkpoints.steps(experiment.run_folder)


def keep_annotations(run_folder: Path, content: bytes) -> None:
    """Keeps a copy of the annotations that a run is trained on."""
    files.write_bytes(run_folder / _COPY, content)


def next_training(experiment: Experiment) -> str:
    """The command that trains on the annotations of now: another run, if the run of this name has others."""
    if not _changed_annotations(experiment):
        return f"actloc train {experiment.arguments}"
    another = arguments_of_another(experiment)
    return f"actloc train {another}; {experiment.run_folder} was trained on other annotations"


def arguments_of_another(experiment: Experiment) -> str:
    """The arguments of a command that mean a run of these settings with another name."""
    others = [setting for setting in experiment.overrides if not setting.startswith("run.name=")]
    return shlex.join([experiment.typed, *others, "run.name=ANOTHER", *own_code.options()])


def _changed_annotations(experiment: Experiment) -> list[str]:
    """What has changed in the annotations since the run was trained, or partly trained; nothing without a run."""
    folder, file = experiment.run_folder, experiment.dataset.annotations_file
    then = _digest(folder)
    if then is None or not file.is_file() or files.sha256_of_file(file) == then:
        return []
    found = _changes(folder, annotation_form.read(file))
    return ["what changed is unknown: the run kept no copy"] if found is None else list(found.lines)


def refuse_changed_annotations(experiment: Experiment) -> None:
    """Raises UserError if the run is trained, or partly trained, on other annotations than there are now."""
    folder, file, lines = experiment.run_folder, experiment.dataset.annotations_file, _changed_annotations(experiment)
    if not lines:
        return
    has_copy, compare = (folder / _COPY).is_file(), ""
    if is_finished(folder):
        keep = f"actloc eval {experiment.run_arguments}"
        both = shlex.join([str(folder), str(folder.parent / "ANOTHER")])
        compare = f"; to compare both: actloc eval each, then actloc report {both}"
    elif not has_copy:
        keep = f"put the old {file} back, then run the same command again"
    else:
        keep = f"cp {shlex.quote(str(folder / _COPY))} {shlex.quote(str(file))}, then run the same command again"
    raise UserError(
        f"The annotations have changed since {folder} was trained:\n  {console.first_lines(lines)}",
        f"Expected those that it was trained on{f', of which {folder / _COPY} is a copy' if has_copy else ''}.",
        f"Train another run on these: actloc train {arguments_of_another(experiment)}; or replace this one: "
        f"actloc train {experiment.arguments} --overwrite; or keep it as it is: {keep}{compare}",
    )


def warn_of_changed_sources(experiment: Experiment, what_it_does: str) -> None:
    """Warns of labels that were changed after `prepare` read them; "{what_it_does} what it read then"."""
    found = _changed_sources(experiment)
    if found:
        console.warn(f"{found} {what_it_does} what it read then. To read again: actloc prepare {experiment.arguments}")


def refuse_changed_sources(experiment: Experiment) -> None:
    """Raises UserError if labels were changed after `prepare` read them."""
    found = _changed_sources(experiment)
    if not found:
        return
    again = f"actloc prepare {experiment.arguments}"
    listing = shlex.quote(str(prepared.file_in(experiment.dataset.folder)))
    raise UserError(
        found,
        f"Expected the content from which {experiment.dataset.annotations_file} was made.",
        f"Run: {again}; or train on the annotations as they were prepared: rm {listing}, then run the same command "
        "again",
    )


def _changed_sources(experiment: Experiment) -> str:
    changed = prepared.changed_sources(experiment.dataset.folder)
    verb, them = ("has", "it") if len(changed) == 1 else ("have", "them")
    return f"{console.first_ten(changed)} {verb} changed since `actloc prepare` read {them}." if changed else ""


def report_edited_annotations(experiment: Experiment, content: bytes) -> None:
    """At the end of training: says if the annotations are others than the `content` that was trained on."""
    file = experiment.dataset.annotations_file
    now = files.read_bytes(file) if file.is_file() else None
    if now != content:
        what = "are gone" if now is None else "were changed during training"
        console.warn(
            f"The annotations in {file} {what}. The run was trained on those that it read, which "
            f"{experiment.run_folder / _COPY} has."
        )


def state_of(experiment: Experiment, stored: Checkpoint) -> TrainedRun | None:
    """How far the run was trained; None for one that was made from an official checkpoint."""
    if "converted" in stored.numbers:
        return None
    folder, settings = experiment.run_folder, stored.numbers["about"]["settings"]
    decay, warm_up = (settings.get(f"average.{key}", getattr(experiment.average, key)) for key in ("decay", "warm_up"))
    are_same = all(tensor.equal(stored.weights[name]) for name, tensor in stored.averaged.items())
    return TrainedRun(
        step=checkpoints.step_of(checkpoints.last(folder)),
        num_steps=stored.numbers.get("num_steps"),
        is_finished=is_finished(folder),
        initial_share=0.0 if are_same else initial_share(decay, stored.step, warm_up=warm_up),
        annotations_sha256=stored.numbers["about"].get("annotations_sha256"),
        validated_on=experiment.section("training").model_dump()["validation_subset"],
    )


def compared(experiment: Experiment, run: TrainedRun, scored: Annotations) -> TrainedRun:
    """`run` with what it was trained on, compared with the annotations that are scored now."""
    folder = experiment.run_folder
    copy = _copy(folder)
    if copy is None:
        return run
    subset = _training_subset(experiment)
    trained = {video.id for video in copy.of_subset(subset)}
    of_subset = scored.of_subset(experiment.dataset.evaluation_subset)
    now = annotation_form.read(experiment.dataset.annotations_file)
    found = changes(copy, now)
    return run.model_copy(
        update={
            "changes": list(found.lines),
            "renamed": dict(found.renamed),
            "trained_videos": sorted(video.id for video in of_subset if video.id in trained),
        }
    )


def renamed_classes(experiment: Experiment) -> dict[str, str]:
    """The new names of the run's classes that were only renamed since it was trained, by their old names."""
    found = _changes(experiment.run_folder, annotation_form.read(experiment.dataset.annotations_file))
    return {} if found is None else dict(found.renamed)


def other_classes(experiment: Experiment, trained: Sequence[str], now: Sequence[str]) -> UserError:
    """The error of a run that cannot be scored because its classes are not those of the annotations."""
    copy, file = experiment.run_folder / _COPY, experiment.dataset.annotations_file
    kept = f", of which {copy} is a copy" if copy.is_file() else ""
    return UserError(
        f"The run was trained on the classes {console.first_ten(trained)}.",
        f"{file} has {console.first_ten(now)}{', in another order' if set(trained) == set(now) else ''}.",
        f"Evaluate on the annotations that the run was trained with{kept}; or train on these: actloc train "
        f"{experiment.arguments} --overwrite; or keep both: actloc train {arguments_of_another(experiment)}",
    )


def warn_of_averages(average: AverageSettings, num_steps: int) -> None:
    """Warns if the averaged weights, which `eval` and `predict` use, will mostly be the initial ones."""
    share = initial_share(average.decay, num_steps, warm_up=average.warm_up)
    if share > MOST_INITIAL_SHARE:
        console.warn(averages_caution(share, num_steps))


def _training_subset(experiment: Experiment) -> str:
    numbers: list[dict[str, Any]] = checkpoints.newest_numbers(experiment.run_folder)  # Any: JSON values
    settings = numbers[-1]["about"]["settings"] if numbers else {}
    return str(settings.get("dataset.training_subset", experiment.dataset.training_subset))


def _digest(run_folder: Path) -> str | None:
    """The sha256 of the annotations that the newest checkpoint was trained on; None without one."""
    numbers = checkpoints.newest_numbers(run_folder)
    found: str | None = numbers[-1].get("about", {}).get("annotations_sha256") if numbers else None
    return found


def _copy(run_folder: Path) -> Annotations | None:
    path = run_folder / _COPY
    return annotation_form.read(path) if path.is_file() else None


def _changes(run_folder: Path, now: Annotations) -> Changes | None:
    """The changes since the run was trained; None if it kept no copy."""
    copy = _copy(run_folder)
    return None if copy is None else changes(copy, now)
