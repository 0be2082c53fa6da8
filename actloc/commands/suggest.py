"""`actloc suggest RUN [VIDEOS] --minutes 10`: what to annotate next, with pre-annotations for annotation tools."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.annotations.writing import WritableForm
from actloc.commands import suggest_files
from actloc.commands.suggest_files import FAILED_NAME, INTERVALS_NAME, TABLE_NAME
from actloc.datasets.base import read_prepared
from actloc.errors import EXIT_SOME_INPUTS_FAILED, UserError, VideoError
from actloc.experiment import Experiment
from actloc.prediction import tool_files
from actloc.prediction.inputs import named_videos, with_ids
from actloc.prediction.made_files import without_made
from actloc.reports import outputs
from actloc.runs import chosen_checkpoint
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of
from actloc.video.reader import probe

if TYPE_CHECKING:
    from actloc.localization.suggesting.footage import Footage
    from actloc.localization.suggesting.looking import Looked
    from actloc.localization.suggesting.suggestion import Suggestion


@dataclass
class _Plan:
    """What is looked at."""

    annotations: Annotations
    footage: "Footage"
    paths: dict[str, Path] | None
    """The files to read by the ids of their videos; None: the features that the run's dataset has."""
    window_s: float
    budget_s: float
    sentence: str
    """How long windows are, and why."""


def run(
    experiment: Experiment,
    names: Sequence[str],
    *,
    minutes: float,
    window_s: float | None,
    output: Path,
    formats: str,
    dry_run: bool = False,
    overwrite: bool = False,
) -> int:
    """Writes and prints the windows to annotate; the exit status is 3 if some of the videos could not be read.

    `names` are videos, folders of them or lists; without any, the unlabelled footage of the run's dataset is meant.
    `formats` are forms of annotation tools for the pre-annotations, with commas between them.
    """
    if not task_of(experiment).finds_actions:
        raise UserError(
            f"The task of {experiment.run_folder} is {experiment.task.name}.",
            "Expected a run that finds actions, whose predictions have a start and an end.",
            "Name a localization run: actloc ls runs",
        )
    forms = tool_files.forms_named(formats, (), "suggest")
    chosen_checkpoint.check(experiment)
    plan = _plan(experiment, names, minutes, window_s, output)
    for sentence in plan.footage.sentences():
        console.say(sentence)
    for why, ids in plan.footage.left_out.items():
        console.emit("left_out", reason=why, videos=ids)
    _refuse_nothing(experiment, plan)
    candidates = plan.footage.spans if plan.paths is None else plan.paths
    made = [TABLE_NAME, INTERVALS_NAME, FAILED_NAME, *tool_files.names_of(forms, list(candidates))]
    outputs.refuse_others([output / name for name in made], overwrite=overwrite)
    if dry_run:
        return _report_plan(plan)
    # imported after the checks, which answer faster without torch
    from actloc.localization.suggesting import looking
    from actloc.localization.suggesting.suggestion import suggested

    num_left_out = len(plan.footage.left_out)
    with stopping_at_once(is_saved=False):
        if plan.paths is None:
            looked = looking.of_dataset(experiment, plan.annotations, plan.footage, plan.window_s)
        else:
            known = {video.id: video for video in plan.footage.videos}
            looked = looking.of_files(experiment, plan.paths, known, plan.window_s)
        learned = looking.learned_from(experiment, plan.annotations, plan.window_s)
    for sentence in plan.footage.sentences()[num_left_out:]:
        console.say(sentence)
    found = suggested(looked, learned, plan.budget_s)
    _write(plan, looked, found, forms, output)
    return _reported(experiment, plan, looked, found, forms, output)


def _plan(experiment: Experiment, names: Sequence[str], minutes: float, window_s: float | None, output: Path) -> _Plan:
    """Checks what was typed, and lists the unlabelled footage."""
    from actloc.localization.suggesting import footage

    annotations, dataset = read_prepared(experiment.dataset, experiment.arguments), experiment.dataset
    budget_s = 60.0 * minutes
    usual_s, longest_s = footage.usual_window_s(annotations.videos.values(), dataset.training_subset)
    if window_s is not None and window_s > budget_s:
        raise UserError(
            f"--window-s {window_s:g} is more than --minutes {minutes:g}, which are {budget_s:g} s.",
            "Expected a window, or several, within the minutes.",
            f"Set --window-s {budget_s:g} or less, or more minutes",
        )
    length_s = window_s or min(usual_s, budget_s)
    set_by = (
        "as set" if window_s else f"--window-s sets another length; the longest training action has {longest_s:.1f} s"
    )
    held = footage.held_out(annotations, _uses(experiment))
    if names:
        videos = without_made(named_videos(names, output, takes_frames=False))
        own, paths = footage.of_files(annotations, dataset.training_subset, held, with_ids(videos, {}))
        return _Plan(annotations, own, paths, length_s, budget_s, f"Windows have {length_s:g} s ({set_by})")
    own = footage.of_dataset(annotations, dataset.training_subset, held)
    return _Plan(annotations, own, None, length_s, budget_s, f"Windows have {length_s:g} s ({set_by})")


def _uses(experiment: Experiment) -> dict[str, str]:
    """The subsets that the run is scored or chosen by, with what they are for."""
    uses = {experiment.dataset.evaluation_subset: "eval scores"}
    validation = experiment.training.validation_subset
    return {**({validation: "train validates on"} if validation else {}), **uses}


def _refuse_nothing(experiment: Experiment, plan: _Plan) -> None:
    """Raises UserError where no footage is left to choose from."""
    if plan.paths is None and not plan.footage.spans:
        raise UserError(
            f"{experiment.dataset.annotations_file} has no unlabelled footage that could be suggested.",
            "Expected videos that are annotated in part, or a subset without actions, apart from the subset that is "
            "evaluated.",
            "Name videos: actloc suggest RUN VIDEO...; or state what is annotated: dataset.annotated=FILE",
        )
    if plan.paths is not None and not plan.paths:
        raise UserError(
            "None of the videos that were named can be suggested.",
            "Expected videos that are not annotated yet, and in no subset that is evaluated.",
            "Name other videos.",
        )


def _report_plan(plan: _Plan) -> int:
    """What would be looked at; videos that cannot be read are named, and make the exit status 2."""
    footage, failed = plan.footage, []
    seconds, number = footage.seconds, len(footage.spans)
    for path in (plan.paths or {}).values():
        try:
            seconds += probe(path).duration_s
            number += 1
        except VideoError as error:
            failed.append(path)
            console.error(f"{path}: {error}")
    minutes = f"{seconds / 60:.1f} minutes of unlabelled footage in {console.count(number, 'video')}"
    console.result(f"{plan.sentence}")
    console.result(f"Would choose {min(plan.budget_s, seconds) / 60:.1f} of {minutes}")
    console.emit("plan", videos=number, seconds=seconds, window_s=plan.window_s, budget_s=plan.budget_s)
    return 2 if failed else 0


def _write(
    plan: _Plan, looked: "Looked", found: Sequence["Suggestion"], forms: Sequence[WritableForm], output: Path
) -> None:
    """Writes the tables and the pre-annotations, and removes those of an earlier call."""
    from actloc.localization.suggesting import footage

    videos = suggest_files.written_videos(found, plan.annotations, plan.paths or {})
    tool_files.write_in_place(forms, output, videos)
    with outputs.recording([output / name for name in (TABLE_NAME, INTERVALS_NAME, FAILED_NAME)]):
        files.write_text(output / TABLE_NAME, suggest_files.as_csv(found))
        intervals = footage.intervals(plan.annotations, [(one.video_id, one.window) for one in found])
        files.write_text(output / INTERVALS_NAME, suggest_files.intervals_csv(intervals))
        files.write_json_lines(output / FAILED_NAME, looked.failed)


def _reported(
    experiment: Experiment,
    plan: _Plan,
    looked: "Looked",
    found: Sequence["Suggestion"],
    forms: Sequence[WritableForm],
    output: Path,
) -> int:
    """Prints the windows and what to do with them; returns the exit status."""
    suggest_files.show(found)
    seconds = sum(one.window[1] - one.window[0] for one in found)
    total_s = sum(end - start for _, (start, end) in looked.windows)
    videos = console.count(len({one.video_id for one in found}), "video")
    console.say(plan.sentence)
    minutes = f"{seconds / 60:.1f} of {total_s / 60:.1f} unlabelled minutes"
    console.result(f"{console.count(len(found), 'window')} in {videos}: {minutes}")
    console.say(f"Wrote {output}/{TABLE_NAME} and {INTERVALS_NAME}")
    if found:
        has_new_videos = any(one.video_id not in plan.annotations.videos for one in found)
        for line in suggest_files.next_steps(experiment, output, forms, has_new_videos=has_new_videos):
            console.say(line)
    console.emit("done", path=str(output), windows=len(found), seconds=seconds, unlabelled_s=total_s)
    if looked.failed:
        which = console.count(len(looked.failed), "video")
        console.error(f"{which} could not be read, and nothing of them is suggested; see {output}/{FAILED_NAME}")
        return EXIT_SOME_INPUTS_FAILED
    return 0
