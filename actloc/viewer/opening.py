"""Reads what is to be viewed: results of `eval`, the output of `predict`, or a file of predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.annotations.annotated_time import is_mostly_outside
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.evaluation import stored_predictions
from actloc.evaluation.matching import Thresholds
from actloc.evaluation.predictions import PREDICTIONS_NAME, read_predictions
from actloc.evaluation.results import Results, TrueAction
from actloc.evaluation.results_files import METRICS_NAME, read_results, task_of_results
from actloc.prediction.inputs import absolute
from actloc.prediction.outcomes import RECORD_NAME, Outcomes
from actloc.viewer.viewed import ViewedSet, ViewedVideo

_TIOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_NAME_VIDEOS = "Name the folder of the videos: actloc view {} FOLDER"


def is_results(folder: Path) -> bool:
    """Whether `eval` wrote this folder."""
    return (folder / METRICS_NAME).is_file()


def is_output(folder: Path) -> bool:
    """Whether `predict` wrote this folder."""
    return (folder / "by_video").is_dir() or (folder / RECORD_NAME).is_file()


def results_of(run: Path, subset: str | None, usual: str | None) -> Path:
    """The folder of a run's results that `subset` names; without it the only one, or that of the `usual` subset.

    Raises UserError if there is none, or if it is not clear which one is meant.
    """
    found = {path.parent.name: path.parent for path in sorted(run.glob(f"eval/*/{METRICS_NAME}"))}
    if not found:
        raise UserError(
            f"{run} has no results yet.",
            "Expected a run that eval has scored.",
            f"Score it first: actloc eval {run}",
        )
    wanted = subset if subset is not None else next(iter(found)) if len(found) == 1 else usual
    if wanted in found:
        others = sorted(found.keys() - {wanted})
        if others and subset is None:
            console.say(f"Showing {wanted}; --subset shows others: {console.first_ten(others)}")
        return found[wanted]
    if subset is not None:
        raise UserError(
            f"{run} has no results {subset}{console.nearest(subset, found, lists_known=False)}",
            f"Expected one of {console.first_ten(found)}.",
            f"Name one: --subset {next(iter(found))}",
        )
    raise UserError(
        f"{run} has {len(found)} results: {console.first_ten(found)}.",
        "Expected to know which ones to show.",
        f"Name one: --subset {next(iter(found))}",
    )


def results(folder: Path) -> ViewedSet:
    """What `eval` wrote: truth, predictions, and the best-F1 threshold of each class. Raises UserError."""
    task = task_of_results(folder)
    if task != "localization":
        raise UserError(
            f"{folder} has results of the task {task}.",
            "Expected those of localization: segments with a start and an end.",
            "Look at the page of its report: actloc report RUN",
        )
    found, predictions = read_results(folder), read_predictions(folder)
    videos = [
        ViewedVideo(video.id, predictions.get(video.id, []), video.truth, video.duration_s, annotated=video.annotated)
        for video in found.videos
    ]
    return ViewedSet(
        title=f"{found.name}, {found.subset}",
        facts=_facts(found),
        videos=videos,
        has_truth=True,
        tious=sorted({*_TIOUS, *(round(tiou, 6) for tiou in found.tious)}),
        thresholds={label: score for label, score in found.score_thresholds().items() if score is not None},
    )


def _facts(found: Results) -> list[tuple[str, str]]:
    cautions = [("Caution", caution) for caution in found.cautions()]
    average = "-" if found.average_map is None else f"{100 * found.average_map:.2f}"
    span = f"{found.tious[0]:g}" + (f" to {found.tious[-1]:g}" if len(found.tious) > 1 else "")
    return [
        ("Data", f"{found.dataset}{found.variant and f', {found.variant}'}, {found.subset}"),
        (f"mAP at tIoU {span}", f"{average}{found.over_classes()}"),
        ("Protocol", found.protocol),
        ("Checkpoint", f"{found.checkpoint}{f', {found.weights} weights' if found.weights else ''}"),
        *(
            [("Changed settings", ", ".join(f"{key}={value}" for key, value in found.changed.items()))]
            * bool(found.changed)
        ),
        *cautions,
    ]


def output(folder: Path) -> ViewedSet:
    """What `predict` wrote: all it found, also below the thresholds, and the files that it read."""
    predictions = stored_predictions.read(folder)
    made_with, thresholds = _made_with(folder)
    videos = []
    for outcome in Outcomes(folder).all():
        if outcome.failure is None:
            file = Path(absolute(folder / outcome.path))
            videos.append(
                ViewedVideo(
                    outcome.id,
                    predictions.get(outcome.id, []),
                    duration_s=outcome.result.get("duration_s"),
                    file=file if file.exists() else None,
                    without=f"{file} does not exist any more. {_NAME_VIDEOS.format(folder)}",
                )
            )
    facts = [("Run", f"{made_with['run']}, {made_with['checkpoint']}")] if made_with else []
    return ViewedSet(f"Found in {folder.name}", facts, videos, has_truth=False, tious=_TIOUS, thresholds=thresholds)


def _made_with(folder: Path) -> tuple[dict[str, Any], Thresholds]:  # Any: JSON values
    """What the output's record says of the run, and the threshold of each class; nothing if it cannot be read."""
    try:
        content = files.read_json(folder / RECORD_NAME)
        thresholds = content["shown"]["score threshold"]
        return content, {label: float(score) for label, score in thresholds.items()}
    except (UserError, LookupError, TypeError, AttributeError, ValueError):
        return {}, {}


def file(path: Path) -> ViewedSet:
    """A file of predictions, or a folder with one; of `eval`'s, also the truth beside it. Raises UserError."""
    where = path if path.is_dir() else path.parent
    if is_results(where) and (path.is_dir() or path.name == PREDICTIONS_NAME):
        return results(where)
    if path.name == PREDICTIONS_NAME and is_output(where):
        return output(where)
    predictions = stored_predictions.read(path)
    if not predictions:
        raise UserError(f"{path} has no predictions.", "Expected some.", "Check which file it is.")
    videos = [ViewedVideo(video_id, claimed) for video_id, claimed in predictions.items()]
    return ViewedSet(path.name, [("Predictions", str(path))], videos, has_truth=False, tious=_TIOUS)


def with_truth(
    viewed: ViewedSet, annotated: Mapping[str, AnnotatedVideo], subset: str | None, source: Path
) -> ViewedSet:
    """The set with the true actions of annotations.

    Its videos are those of the `subset`; without one, those of all subsets that videos with predictions are in. A video
    without predictions counts: its actions are missed. Predictions for other videos, and those whose larger part is
    outside the annotated time, are left out, and reported.
    """
    there = {video.id: video for video in viewed.videos}
    by_case = {one.subset.lower() for key, one in annotated.items() if key in there}
    wanted = by_case if subset is None else {subset.lower()}
    chosen = {key: one for key, one in annotated.items() if one.subset.lower() in wanted}
    if not chosen:
        subsets = sorted({one.subset for one in annotated.values()})
        raise UserError(
            f"{source} has none of {console.count(len(there), 'video')} with predictions"
            if subset is None
            else f"{source} has no subset {subset}{console.nearest(subset, subsets)}",
            f"Expected ids as in the predictions, such as {console.first_ten(list(there)[:3])}.",
            "Check that the file belongs to these predictions, and the --subset.",
        )
    others = sorted(there.keys() - chosen.keys())
    if others:
        console.warn(f"Left out {console.count(len(others), 'video')} without truth: {console.first_ten(others)}")
    videos, num_outside = [], 0
    for key, one in chosen.items():
        before = there.get(key, ViewedVideo(key, []))
        truth = [TrueAction(label=each.label, start_s=each.start_s, end_s=each.end_s) for each in one.actions]
        inside = [each for each in before.predictions if not is_mostly_outside(one.annotated, each.start_s, each.end_s)]
        num_outside += len(before.predictions) - len(inside)
        duration_s = one.duration_s or before.duration_s
        videos.append(ViewedVideo(key, inside, truth, duration_s, before.file, before.without, one.annotated))
    if num_outside:
        console.warn(f"Left out {console.count(num_outside, 'prediction')} outside the annotated time")
    facts = [*viewed.facts, ("Truth", str(source)), ("Subsets", ", ".join(sorted(wanted)))]
    return ViewedSet(viewed.title, facts, videos, has_truth=True, tious=viewed.tious, thresholds=viewed.thresholds)
