"""Scores of whole videos by a classifier, in the forms in which they circulate, lined up with a dataset by name."""

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

Row = Annotated[list[float], Field(min_length=1)]


@dataclass(frozen=True)
class ClassScores:
    """For each video one score per class, in the order of `classes`."""

    classes: tuple[str, ...]
    videos: dict[str, Floats]

    def aligned(self, path: Path, classes: Sequence[str], video_ids: Iterable[str]) -> dict[str, Floats]:
        """The scores of these videos in the order of these classes; an error lists every name the file does not have.

        ActivityNet's files are called `v_<id>`, its videos `<id>`: either is found.
        """
        known = {video_id.removeprefix("v_"): scores for video_id, scores in self.videos.items()}
        video_ids = list(video_ids)
        lacking = {
            "classes": [name for name in classes if name not in self.classes],
            "videos": [video_id for video_id in video_ids if video_id.removeprefix("v_") not in known],
        }
        told = [f"{len(names)} {what}: {console.first_ten(names)}" for what, names in lacking.items() if names]
        if told:
            raise UserError(
                f"{path} does not have {'; nor '.join(told)}.",
                f"Expected scores for all {len(classes)} classes and {len(video_ids)} videos, by name.",
                "Take the file that belongs to this subset, or name its classes as the annotations do.",
            )
        columns = [self.classes.index(name) for name in classes]
        return {video_id: known[video_id.removeprefix("v_")][columns] for video_id in video_ids}


def read(path: Path, form: ScoreForm) -> ClassScores:
    """The scores in a file of one of the known forms; raises UserError for any other."""
    if form == "untrimmednet":
        return _read_untrimmednet(path)
    try:
        if form == "tcanet":
            logits = _Logits.model_validate(files.read_json(path))
            # of several views the first counts; softmax twice, as those who published with this file did
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
            raise _unreadable(path, f"{video_id} has {len(row)} scores for {len(classes)} classes", form)
    return ClassScores(tuple(classes), videos)


class _Named(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    classes: Annotated[list[str], Field(validation_alias=AliasChoices("classes", "class"))]


class _Scores(_Named):
    """CUHK's file of ActivityNet and our plain form: class names beside scores."""

    results: dict[str, Row]


class _Logits(_Named):
    """TCANet's file of HACS: logits of one or several views of each video."""

    results: dict[str, Annotated[list[Row], Field(min_length=1)]]


def _softmax(values: Floats) -> Floats:
    powers: Floats = np.exp(values - values.max())
    return powers / powers.sum()


def _read_untrimmednet(path: Path) -> ClassScores:
    """Rows are THUMOS14's test videos by number from 1, columns the 101 classes of UCF101 by number from 1."""
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, str(error), "untrimmednet") from error
    is_table = isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == _UCF101_COLUMNS
    if not is_table or table.dtype.kind != "f" or not np.isfinite(table).all():
        raise _unreadable(path, "it is no table of 101 finite columns", "untrimmednet")
    columns = [number - 1 for number in thumos14.CLASSES]
    videos = {f"video_test_{row + 1:07d}": scores for row, scores in enumerate(table[:, columns].astype(np.float64))}
    return ClassScores(tuple(thumos14.CLASSES.values()), videos)


def _unreadable(path: Path, what: str, form: str) -> UserError:
    return UserError(
        f"{path} cannot be read as {form} scores: {what}.",
        'Expected {"class": [names], "results": {video: [scores]}}; tcanet has lists of logits there, untrimmednet is '
        "an .npy table of 101 columns.",
        "Check fusion.file and fusion.form.",
    )
