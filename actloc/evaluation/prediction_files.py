"""Reads predictions of other projects: ActivityNet's JSON, or THUMOS14's text `video start end class score`."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from actloc import console, files
from actloc.datasets import thumos14
from actloc.errors import UserError
from actloc.evaluation.predictions import Prediction, Predictions

_TEXT_FIELDS = 5


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Claim(_Lenient):
    label: str
    # ActionFormer's evaluator writes `scores`
    score: float = Field(validation_alias=AliasChoices("score", "scores"))
    segment: Annotated[list[float], Field(min_length=2, max_length=2)]


class _ActivityNet(_Lenient):
    results: dict[str, list[_Claim]]


def read(path: Path, classes: Collection[str] = ()) -> Predictions:
    """Reads the predictions of each video in the file's order; raises UserError that names what is wrong.

    A file that ends in `.json` has ActivityNet's format, any other is text. A number in the class column of a text is
    THUMOS14's official class number, unless one of the dataset's `classes` has this name.
    """
    return _read_json(path) if path.suffix.lower() == ".json" else _read_text(path, classes)


def _read_json(path: Path) -> Predictions:
    return of_json(files.read_json(path, keep_odd_numbers=True), path)


def of_json(parsed: Any, path: Path) -> Predictions:  # Any: parsed JSON
    """The predictions in ActivityNet's form; raises UserError that names `path` and what is wrong."""
    try:
        content = _ActivityNet.model_validate(parsed)
    except ValidationError as error:
        places = [f"{'.'.join(map(str, one['loc'])) or 'top level'}: {one['msg']}" for one in error.errors()]
        raise _unreadable(path, places) from error
    return {
        video_id: [Prediction(claim.label, claim.score, claim.segment[0], claim.segment[1]) for claim in claims]
        for video_id, claims in content.results.items()
    }


def _read_text(path: Path, classes: Collection[str]) -> Predictions:
    if not path.exists():
        raise _unreadable(path, ["it does not exist"])
    predictions: Predictions = {}
    problems = []
    for number, line in enumerate(files.read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            video_id, prediction = _line(line, classes)
        except ValueError as error:
            problems.append(f"line {number}, video {line.split()[0]}: {error}")
            continue
        predictions.setdefault(video_id, []).append(prediction)
    if problems:
        raise _unreadable(path, problems)
    return predictions


def _line(line: str, classes: Collection[str]) -> tuple[str, Prediction]:
    """Parses one row; raises ValueError that says what is wrong. A class may contain blanks, a video id may not."""
    parts = line.split()
    if len(parts) < _TEXT_FIELDS:
        raise ValueError(f"{console.count(len(parts), 'field')} instead of video, start, end, class and score")
    start_s, end_s, score = (float(part) for part in (parts[1], parts[2], parts[-1]))
    if not all(map(math.isfinite, (start_s, end_s, score))):
        raise ValueError("a time or the score is not finite")
    return parts[0], Prediction(_class_name(" ".join(parts[3:-1]), classes), score, start_s, end_s)


def _class_name(text: str, classes: Collection[str]) -> str:
    if text in classes or not text.isdecimal():
        return text
    if int(text) not in thumos14.CLASSES:
        raise ValueError(
            f"{text} is not an official class number of THUMOS14 (7, 9, 12, 21 ... 97); write the class name"
        )
    return thumos14.CLASSES[int(text)]


def _unreadable(path: Path, problems: list[str]) -> UserError:
    return UserError(
        f"{path} cannot be read as predictions:\n  {console.first_lines(problems)}",
        'Expected {"results": {video: [{"label", "score", "segment": [start, end]}]}} in a .json file, '
        "or lines `video start end class score`.",
        "Fix the file, or convert it to one of these formats.",
    )
