"""Reads the class scores of whole videos in the formats in circulation, and aligns them with a dataset by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from actloc import console, files
from actloc.datasets import thumos14
from actloc.errors import UserError
from actloc.evaluation.columns import Floats
from actloc.settings.choices import ScoreForm

_UCF101_COLUMNS = 101

VideoScores = Annotated[list[float], Field(min_length=1)]
"""One number per class."""


@dataclass(frozen=True)
class ClassScores:
    """One score per class for each video, in the order of `classes`."""

    classes: tuple[str, ...]
    videos: dict[str, Floats]

    def aligned(self, path: Path, classes: Sequence[str], video_ids: Iterable[str]) -> dict[str, Floats]:
        """The scores of these videos in the order of these classes; raises UserError that lists every missing name.

        Ids match with or without `v_`: ActivityNet's files are named `v_<id>`, its videos `<id>`.
        """
        known = {video_id.removeprefix("v_"): scores for video_id, scores in self.videos.items()}
        video_ids = list(video_ids)
        no_class = [name for name in classes if name not in self.classes]
        no_video = [video_id for video_id in video_ids if video_id.removeprefix("v_") not in known]
        missing = [f"{_classes(len(no_class))} ({console.first_ten(no_class)})"] if no_class else []
        missing += [f"{console.count(len(no_video), 'video')} ({console.first_ten(no_video)})"] if no_video else []
        if missing:
            raise UserError(
                f"{path} has no scores for {' and '.join(missing)}.",
                f"Expected scores of {_classes(len(classes))} for {console.count(len(video_ids), 'video')}, by name.",
                "Use the file that belongs to this subset, or name its classes as the annotations do.",
            )
        columns = [self.classes.index(name) for name in classes]
        return {video_id: known[video_id.removeprefix("v_")][columns] for video_id in video_ids}


def read(path: Path, form: ScoreForm) -> ClassScores:
    """Reads the scores of a file in the given format; raises UserError if the file has another format."""
    if form == "untrimmednet":
        return _read_untrimmednet(path)
    try:
        if form == "tcanet":
            logits = _Logits.model_validate(files.read_json(path))
            # the first view only, and softmax twice, as in the published results that use this file
            classes = logits.classes
            videos = {video_id: _softmax(_softmax(np.array(views[0]))) for video_id, views in logits.results.items()}
        else:
            scores = _Scores.model_validate(files.read_json(path))
            classes, videos = scores.classes, {video_id: np.array(row) for video_id, row in scores.results.items()}
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(path, f"{'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']}", form) from error
    for video_id, row in videos.items():
        if len(row) != len(classes):
            what = f"{video_id} has {console.count(len(row), 'score')} for {_classes(len(classes))}"
            raise _unreadable(path, what, form)
    return ClassScores(tuple(classes), videos)


class _ClassNames(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    classes: Annotated[list[str], Field(validation_alias=AliasChoices("classes", "class"))]


class _Scores(_ClassNames):
    """CUHK's file for ActivityNet and our plain format: class names and scores."""

    results: dict[str, VideoScores]


class _Logits(_ClassNames):
    """TCANet's file for HACS: logits of one or several views of each video."""

    results: dict[str, Annotated[list[VideoScores], Field(min_length=1)]]


def _softmax(values: Floats) -> Floats:
    powers: Floats = np.exp(values - values.max())
    return powers / powers.sum()


def _read_untrimmednet(path: Path) -> ClassScores:
    """One row per THUMOS14 test video and one column per UCF101 class, both in the order of their numbers from 1."""
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, str(error), "untrimmednet") from error
    is_table = isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == _UCF101_COLUMNS
    if not is_table or table.dtype.kind != "f" or not np.isfinite(table).all():
        raise _unreadable(path, "it is not an array of 101 columns of finite floats", "untrimmednet")
    columns = [number - 1 for number in thumos14.CLASSES]
    videos = {f"video_test_{row + 1:07d}": scores for row, scores in enumerate(table[:, columns].astype(np.float64))}
    return ClassScores(tuple(thumos14.CLASSES.values()), videos)


def _unreadable(path: Path, what: str, form: str) -> UserError:
    return UserError(
        f"{path} cannot be read as {form} scores: {what}.",
        'Expected {"class": [names], "results": {video: [scores]}}; with form tcanet, lists of logits instead of '
        "scores; with form untrimmednet, an .npy array of 101 columns.",
        "Check fusion.file and fusion.form.",
    )


def _classes(number: int) -> str:
    return console.count(number, "class", "classes")
