"""Reads class scores of videos and their windows in the formats in circulation; aligns them by name; writes them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from actloc import console, files
from actloc.damage import refused
from actloc.datasets import thumos14
from actloc.errors import NotFiniteError, UserError
from actloc.evaluation import scores_hdf5
from actloc.evaluation.columns import Floats
from actloc.evaluation.scored_windows import ScoredWindows
from actloc.settings.choices import FusionUnit, ScoreForm

_UCF101_COLUMNS = 101
_WINDOWS_FORM = '"windows": {video: [[start, end, [scores]], ...]}'

Facts = Mapping[str, str | int | float]
"""Where scores come from: `run`, `checkpoint`, the `sha256` of its weights, the `views`, what is their `average`."""
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class ClassScores:
    """One score per class, in the order of `classes`: (K,) of each of the videos, (W, K) of the windows of each."""

    classes: tuple[str, ...]
    videos: dict[str, Floats]
    windows: dict[str, ScoredWindows] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)

    def aligned(self, path: Path, classes: Sequence[str], video_ids: Iterable[str]) -> dict[str, Floats]:
        """The scores of these videos in the order of these classes; raises UserError that lists every missing name.

        Ids match with or without `v_`: ActivityNet's files are named `v_<id>`, its videos `<id>`.
        """
        chosen, columns = self._chosen(path, "scores", self.videos, classes, list(video_ids))
        return {video_id: scores[columns] for video_id, scores in chosen.items()}

    def aligned_windows(self, path: Path, classes: Sequence[str], video_ids: Iterable[str]) -> dict[str, ScoredWindows]:
        """The windows of these videos with scores in the order of these classes; raises UserError like `aligned`."""
        chosen, columns = self._chosen(path, "windows with scores", self.windows, classes, list(video_ids))
        return {
            video_id: ScoredWindows(windows.segments, windows.scores[:, columns])
            for video_id, windows in chosen.items()
        }

    def _chosen(
        self, path: Path, what: str, values: Mapping[str, _Value], classes: Sequence[str], video_ids: list[str]
    ) -> tuple[dict[str, _Value], list[int]]:
        """What belongs to each video, and the columns of the classes."""
        known = {video_id.removeprefix("v_"): value for video_id, value in values.items()}
        no_class = [name for name in classes if name not in self.classes]
        no_video = [video_id for video_id in video_ids if video_id.removeprefix("v_") not in known]
        missing = [f"{_classes(len(no_class))} ({console.first_ten(no_class)})"] if no_class else []
        missing += [f"{console.count(len(no_video), 'video')} ({console.first_ten(no_video)})"] if no_video else []
        if missing:
            raise UserError(
                f"{path} has no {what} for {' and '.join(missing)}.",
                f"Expected {what} of {_classes(len(classes))} for {console.count(len(video_ids), 'video')}, by name.",
                "Use the file that belongs to this subset, or name its classes as the annotations do.",
            )
        columns = [self.classes.index(name) for name in classes]
        return {video_id: known[video_id.removeprefix("v_")] for video_id in video_ids}, columns


def read(path: Path, form: ScoreForm, per: FusionUnit = "video") -> ClassScores:
    """Reads a file of scores in the given form: JSON, HDF5 if its name ends in .h5 or .hdf5, or UntrimmedNet's array.

    Raises UserError that names the place where the file has another form, or if it has no scores of videos, or with
    `per` segment of windows.
    """
    if form == "untrimmednet":
        scores = _read_untrimmednet(path)
    elif form in ("tcanet", "tcanet_once"):
        logits = _checked(path, form, _Logits)
        # the first view only, and softmax twice or (DyFADet) once, as in the published results that use this file
        videos = {video_id: _softmax(np.array(views[0])) for video_id, views in logits.results.items()}
        if form == "tcanet":
            videos = {video_id: _softmax(probabilities) for video_id, probabilities in videos.items()}
        scores = ClassScores(tuple(logits.classes), videos)
    else:
        scores = _read_plain(path, form)
    problem = _wrong_with(scores)
    if problem is not None:
        raise _unreadable(path, problem, form)
    _refuse_without(path, scores, per)
    return scores


def write(
    path: Path,
    classes: Sequence[str],
    results: Mapping[str, Floats],
    windows: Mapping[str, ScoredWindows],
    facts: Facts,
    best_windows: int = 1,
) -> None:
    """Writes the plain form, whole or not at all: HDF5 if the name ends in .h5 or .hdf5, else JSON.

    `results` are scores (K,) of whole videos, at least 0, such as probabilities. A video that has only `windows` gets
    those of its windows: of each class the mean of the `best_windows` highest. Raises NotFiniteError.
    """
    without = {video_id: one for video_id, one in windows.items() if video_id not in results}
    results = {**results, **{video_id: one.of_video(best_windows) for video_id, one in without.items()}}
    problem = _wrong_with(ClassScores(tuple(classes), results, dict(windows)))
    if problem is not None:
        raise NotFiniteError(
            f"Cannot write class scores to {path}: {problem}.",
            "Expected finite scores of at least 0, one for each class.",
            "Score an earlier checkpoint, or train again with a lower learning rate.",
        )
    if path.suffix.lower() in scores_hdf5.SUFFIXES:
        scores_hdf5.write(path, classes, results, windows, facts)
        return
    content = {
        "classes": list(classes),
        "facts": dict(facts),
        "results": {video_id: row.tolist() for video_id, row in results.items()},
        "windows": {video_id: one.to_list() for video_id, one in windows.items()},
    }
    files.write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def _refuse_without(path: Path, scores: ClassScores, per: FusionUnit) -> None:
    if per == "segment" and not scores.windows:
        raise UserError(
            f"{path} has scores of whole videos only, and fusion.per is segment.",
            f"Expected scores of windows too: {_WINDOWS_FORM}, in seconds.",
            "Use a file with windows, or give each video's detections the scores of the video: fusion.per=video",
        )
    if per == "video" and not scores.videos:
        raise UserError(
            f"{path} has scores of windows only, and fusion.per is video.",
            'Expected scores of whole videos too: "results": {video: [scores]}.',
            "Give each detection the scores of its windows: fusion.per=segment; or add results to the file, such as "
            "the highest score of each class over the windows of the video",
        )


_Row = Annotated[list[float], Field(min_length=1)]
"""One number per class."""
_Window = Annotated[tuple[float, float, _Row], Field(strict=False)]
"""Start and end in seconds, and the scores; not strict, because JSON has lists and no tuples."""


class _ClassNames(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    classes: Annotated[list[str], Field(validation_alias=AliasChoices("classes", "class"))]


class _Scores(_ClassNames):
    """CUHK's file for ActivityNet and our plain form: class names and scores."""

    results: dict[str, _Row] = {}
    windows: dict[str, Annotated[list[_Window], Field(min_length=1)]] = {}
    facts: dict[str, str | int | float] = {}


class _Logits(_ClassNames):
    """TCANet's file for HACS: logits of one or several views of each video."""

    results: dict[str, Annotated[list[_Row], Field(min_length=1)]]


_Form = TypeVar("_Form", bound=_ClassNames)


def _checked(path: Path, form: ScoreForm, model: type[_Form]) -> _Form:
    try:
        return model.model_validate(files.read_json(path, keep_odd_numbers=True))
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(path, f"{'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']}", form) from error


def _read_plain(path: Path, form: ScoreForm) -> ClassScores:
    if path.suffix.lower() in scores_hdf5.SUFFIXES:
        files.check_regular(path)
        try:
            with refused(path, lambda what: _unreadable(path, what, form), passing=scores_hdf5.OtherFormError):
                return ClassScores(*scores_hdf5.read(path))
        except scores_hdf5.OtherFormError as error:
            raise _unreadable(path, str(error), form) from error
    content = _checked(path, form, _Scores)
    number, windows = len(content.classes), {}
    for video_id, listed in content.windows.items():
        for place, (_, _, row) in enumerate(listed):
            if len(row) != number:
                what = f"windows.{video_id}.{place} has {console.count(len(row), 'score')} for {_classes(number)}"
                raise _unreadable(path, what, form)
        windows[video_id] = ScoredWindows(np.array([one[:2] for one in listed]), np.array([one[2] for one in listed]))
    videos = {video_id: np.array(row) for video_id, row in content.results.items()}
    return ClassScores(tuple(content.classes), videos, windows, content.facts)


def _wrong_with(scores: ClassScores) -> str | None:
    """The first place where something is not what it must be."""
    number = len(scores.classes)
    repeated = sorted({name for name in scores.classes if scores.classes.count(name) > 1})
    if not number or not (scores.videos or scores.windows):
        return "it has no classes" if not number else "it has no results"
    if repeated:
        return f"classes has {console.first_ten(repeated)} more than once"
    every = {f"results.{video_id}": row for video_id, row in scores.videos.items()}
    every |= {f"windows.{video_id}": windows.scores for video_id, windows in scores.windows.items()}
    for place, values in every.items():
        if values.shape[-1] != number:
            return f"{place} has {console.count(values.shape[-1], 'score')} for {_classes(number)}"
        is_score = np.isfinite(values) & (values >= 0)
        if not is_score.all():
            return f"{place} has a score of {values[~is_score][0]:g}"
    for video_id, windows in scores.windows.items():
        start_s, end_s = windows.segments.T
        is_window = np.isfinite(windows.segments).all(axis=1) & (start_s < end_s)
        if not is_window.all():
            start, end = windows.segments[~is_window][0]
            return f"windows.{video_id} has a window that starts at {start:g} s and ends at {end:g} s"
    return None


def _softmax(values: Floats) -> Floats:
    powers: Floats = np.exp(values - values.max())
    return powers / powers.sum()


def _read_untrimmednet(path: Path) -> ClassScores:
    """One row per THUMOS14 test video and one column per UCF101 class, both in the order of their numbers from 1."""
    files.check_regular(path)
    with refused(path, lambda what: _unreadable(path, what, "untrimmednet")), path.open("rb") as stream:
        table = np.load(stream, allow_pickle=False)
    is_table = isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == _UCF101_COLUMNS
    if not is_table or table.dtype.kind != "f" or not np.isfinite(table).all():
        raise _unreadable(path, "it is not an array of 101 columns of finite floats", "untrimmednet")
    columns = [number - 1 for number in thumos14.CLASSES]
    videos = {f"video_test_{row + 1:07d}": scores for row, scores in enumerate(table[:, columns].astype(np.float64))}
    return ClassScores(tuple(thumos14.CLASSES.values()), videos)


def _unreadable(path: Path, what: str, form: str) -> UserError:
    return UserError(
        f"{path} cannot be read as {form} scores: {what}.",
        f'Expected {{"classes": [names], "results": {{video: [scores]}}}} and, for windows, {_WINDOWS_FORM}; all '
        "scores at least 0, such as probabilities. With forms tcanet and tcanet_once, lists of logits instead of "
        "scores; with form untrimmednet, an .npy array of 101 columns.",
        "Check fusion.scores and fusion.form.",
    )


def _classes(number: int) -> str:
    return console.count(number, "class", "classes")
