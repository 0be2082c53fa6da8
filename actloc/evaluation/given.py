"""True actions and predictions that Python code gives: files, dicts in ActivityNet's form, or lists by video."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actloc import console, files
from actloc.annotations import annotated_time, left_out, model, own_actions
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.annotations.reading import Reading, ReadingSettings
from actloc.annotations.video_names import VideoNames
from actloc.errors import Problem, UserError
from actloc.evaluation import prediction_files
from actloc.evaluation.predictions import Prediction, Predictions

_ACTION = "(label, start, end) in seconds"
_PREDICTION = "(label, start, end, score), times in seconds"
_IN_MEMORY = Path("truth")


def annotations_of(truth: Any, reading: Mapping[str, Any]) -> Annotations:  # Any: not checked yet; setting values
    """The annotations in a file or folder of any form, a dict in ActivityNet's form, or lists of actions by video.

    `reading` are the settings by which other forms are read. Raises UserError that lists what is wrong.
    """
    if isinstance(truth, str | os.PathLike):
        return _of_file(Path(truth), reading)
    if not isinstance(truth, Mapping):
        raise UserError(
            f"The truth is a {type(truth).__name__}.",
            f"Expected a path, a dict as ActivityNet's JSON has it, or a dict by video of lists of {_ACTION}.",
            "Convert it to one of these.",
        )
    if isinstance(truth.get("database"), Mapping):
        return _of_database(_IN_MEMORY, _as_json(truth, "The truth"))
    videos = {}
    for name, listed in truth.items():
        rows = (_row(row, f"truth of {name!r}", number, _ACTION) for number, row in enumerate(_list(listed, name)))
        videos[str(name)] = AnnotatedVideo(
            str(name), "", tuple(Action(start, end, label) for label, start, end in rows)
        )
    return _whole("The truth", _with_classes(videos), [])


def _of_file(path: Path, reading: Mapping[str, Any]) -> Annotations:
    if not path.exists():
        raise UserError(f"{path} does not exist.", "Expected a file or folder of annotations.", "Check the path.")
    chosen = settings(ReadingSettings, dict(reading), "reading")
    if path.suffix.lower() == ".json" and not reading:
        content = files.read_json(path, keep_odd_numbers=True)
        if isinstance(content, dict) and isinstance(content.get("database"), dict):
            return _of_database(path, content)
    listed = own_actions.read(path, None, VideoNames(None), "", Reading(chosen, ""))
    left_out.report(listed, None)
    return _whole(str(path), _with_classes(listed.videos), listed.problems, listed.places)


def _of_database(path: Path, content: dict[str, Any]) -> Annotations:  # Any: JSON values
    """As `eval` reads `annotations.json`, but a video may have no subset."""
    return _whole(str(path), *annotation_form.parsed_own(path, content))


def _with_classes(videos: dict[str, AnnotatedVideo]) -> Annotations:
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    return Annotations(tuple(classes), {name: videos[name] for name in sorted(videos)})


def _whole(
    source: str, annotations: Annotations, problems: list[Problem], places: dict[str, list[str]] | None = None
) -> Annotations:
    problems = problems + model.check(annotations, places)
    for video in annotations.videos.values():
        problems += annotated_time.problems_of(video, source)
    if problems:
        raise UserError(
            f"{source} has {console.count(len(problems), 'problem')}:\n  {console.first_lines(problems)}",
            "Expected 0 <= start < end <= duration in seconds, a label for each action, and each video once.",
            "Correct them.",
        )
    return annotated_time.settled(model.clip_past_end(annotations))


def predictions_of(predictions: Any, annotations: Annotations) -> Predictions:  # Any: not checked yet
    """The predictions in a file, a dict in ActivityNet's form, or lists of predictions by video, id or path.

    Raises UserError that says what is wrong.
    """
    if isinstance(predictions, str | os.PathLike):
        path = Path(predictions)
        if not path.is_file():
            raise UserError(f"{path} is not a file.", "Expected a file of predictions.", "Check the path.")
        return prediction_files.read(path, annotations.classes)
    if not isinstance(predictions, Mapping):
        raise UserError(
            f"The predictions are a {type(predictions).__name__}.",
            "Expected a path, a dict with the key results in ActivityNet's form, or a dict by video of lists of "
            f"{_PREDICTION}.",
            "Convert them to one of these.",
        )
    if isinstance(predictions.get("results"), Mapping):
        return prediction_files.of_json(_as_json(predictions, "The predictions"), Path("predictions"))
    names, found = VideoNames(annotations.videos), {}
    called: dict[str, Any] = {}  # Any: a name as it was given
    for name, listed in predictions.items():
        text = str(os.fspath(name)) if isinstance(name, os.PathLike) else str(name)
        video_id = names.find(text) or text
        if video_id in found:
            raise UserError(
                f"{called[video_id]} and {name} are both the video {video_id}.",
                "Expected one list of predictions of each video.",
                "Join them, or rename one.",
            )
        called[video_id] = name
        rows = enumerate(_list(listed, name))
        found[video_id] = [_prediction(row, f"predictions of {name!r}", number) for number, row in rows]
    return found


def _prediction(row: Any, where: str, number: int) -> Prediction:  # Any: not checked yet
    label, start_s, end_s, score = _row(row, where, number, _PREDICTION)
    return Prediction(label, score, start_s, end_s)


def _list(listed: Any, name: Any) -> Iterable[Any]:  # Any: not checked yet
    if isinstance(listed, str | bytes | Mapping) or not isinstance(listed, Iterable):
        raise UserError(
            f"What is given of the video {name!r} is a {type(listed).__name__}.",
            "Expected a list; it may be empty.",
            "Give a list for each video.",
        )
    return listed


def _row(row: Any, where: str, number: int, expected: str) -> tuple[Any, ...]:  # Any: not checked yet
    """The label and the numbers of an action, in the order that `expected` names: a tuple, a dict, or an object."""
    has_score, odd = "score" in expected, row
    if isinstance(row, Mapping):  # as in ActivityNet's form
        segment = row.get("segment") or (None, None)
        odd = (row.get("label"), *segment, *([row.get("score")] if has_score else []))
    elif hasattr(row, "start_s"):
        odd = (row.label, row.start_s, row.end_s, *([getattr(row, "score", None)] if has_score else []))
    try:
        label, *numbers = odd
        numbers = [_number(one) for one in numbers]
        if not isinstance(label, str) or not label or len(numbers) != 2 + has_score:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The {where}, number {number}, is {row!r}.", f"Expected {expected}.", "Correct it, and others like it."
        ) from error
    return (label, *numbers)


def _number(value: Any) -> float:  # Any: not checked yet
    if isinstance(value, str | bool) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _as_json(content: Mapping[str, Any], what: str) -> Any:  # Any: JSON values
    """The same with lists for tuples and plain numbers for those of numpy."""
    try:
        return json.loads(json.dumps(content, default=float))
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {error}.", "Expected what JSON can hold.", "Convert it.") from error


def settings(section: Any, values: dict[str, Any], what: str) -> Any:  # Any: a class of settings, and its object
    """A section of settings; raises UserError that names the first value that is wrong."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else what
        raise UserError(
            f"{name} is {values.get(name, values)!r}: {first['msg'].removeprefix('Value error, ')}.",
            f"Expected a value that the setting {name} takes in a settings file.",
            "Correct it; the settings are explained by: actloc show own_videos",
        ) from error
