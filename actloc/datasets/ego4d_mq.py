"""Ego4D Moment Queries: 110 moments in clips of about 8 minutes, from the moments files or ActionFormer's JSON."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from actloc import files
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations, FeatureRows
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_SUBSETS = {"train": "training", "val": "validation", "test": "test", "test_unannotated": "test"}
_STRIDE, _CLIP = 16, 32  # frames of Ego4D's features: one row every 16, each of 32


@dataclass(frozen=True)
class _Rule:
    """How a converter makes clips from the moments files."""

    decimals: int
    """Decimals of all times."""
    shortest_s: float = 0.0
    """Shorter moments are left out."""
    rates: tuple[float, float] = (0.0, float("inf"))
    """Clips with other frame rates are left out."""
    whole_strides: bool = False
    """The clip begins and ends up to 15 frames further out, where rows of its video's features do, and knows its rows;
    its duration and frames count what was added."""


_RULES = {
    "actionformer": _Rule(decimals=2, shortest_s=0.25, rates=(10.0, 100.0), whole_strides=True),
    "opentad": _Rule(decimals=4),
}


class Config(DatasetConfig):
    """Where the annotations are. Each clip counts as a video, and its times start at its first frame."""

    annotations: InputFileOrFolder
    """A folder of moments_train.json, moments_val.json and moments_test_unannotated.json, or ActionFormer's JSON."""
    class_names: OptionalInputFile = None
    """ActionFormer's label map, lines `000<tab>name`. null: names in ASCII order, which is the same order."""
    clips: Literal["actionformer", "opentad"] = "actionformer"
    """Whose clips they are, also by which rule moments files become clips. actionformer: cut from the features of whole
    videos, so a clip begins and ends with a row of them, up to 15 frames further out, and moments under 0.25 s are left
    out; opentad: every clip and moment as it is, for features made of the clips."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses."""

    @property
    def variant(self) -> str:
        """Whose clips they are: they differ in their starts and in which moments count."""
        return f"clips of {self.clips}"

    def collect(self) -> Annotations:
        """Primary moments of every clip; a moment that several annotators marked appears several times."""
        if self.annotations.is_dir():
            found, defects = _read_moments(self.annotations, _RULES[self.clips])
        else:
            found, defects = annotation_form.read_published(self.annotations, self.folder), []
        if self.class_names:
            found = replace(found, classes=tuple(published.read_class_names(self.class_names).values()))
        return published.settle(found, published.Rule(), self.folder, defects)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Moments that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "moments")


def _read_moments(folder: Path, rule: _Rule) -> tuple[Annotations, list[published.Defect]]:
    """All clips except labelled ones without a primary moment, as in ActionFormer's and OpenTAD's tools."""
    paths = sorted(folder.glob("moments_*.json"))
    if not paths:
        raise UserError(
            f"{folder} has no moments_*.json.",
            "Expected moments_train.json and moments_val.json.",
            "Set dataset.annotations to the folder of these files.",
        )
    videos: dict[str, AnnotatedVideo] = {}
    defects: list[published.Defect] = []
    for path in paths:
        try:
            for entry in files.read_json(path)["videos"]:
                clips = [_clip(clip, entry, rule, defects) for clip in entry["clips"]]
                videos.update({clip.id: clip for clip in clips if clip is not None})
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise UserError(
                f"{path} does not have the form of Ego4D's moments: {error!r}.",
                "Expected videos with a split, and clips with clip_uid, times and annotations.",
                "Download it again with Ego4D's command-line tool.",
            ) from error
    empty = {video.id for video in videos.values() if video.subset != "test" and not video.actions}
    defects += [published.Defect("has no primary moment (left out)", video_id) for video_id in sorted(empty)]
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    kept = published.without(dict(sorted(videos.items())), empty)
    return Annotations(tuple(classes), kept, keeps_past_end=True), defects


def _clip(
    clip: dict[str, Any], entry: dict[str, Any], rule: _Rule, defects: list[published.Defect]
) -> AnnotatedVideo | None:
    """A clip of a video's entry; None and a defect if it is left out. The caller reports missing keys."""
    start_s, end_s = clip["video_start_sec"], clip["video_end_sec"]
    first, end = clip["video_start_frame"], clip["video_end_frame"]
    if rule.whole_strides:
        start_s, first = max(start_s, 0.0), max(first, 0)
    fps = (end - first) / (end_s - start_s)
    if not rule.rates[0] <= fps <= rule.rates[1]:
        defects.append(published.Defect(f"has {fps:g} frames per second (left out)", _text(clip, "clip_uid")))
        return None
    rows = None
    if rule.whole_strides:
        in_front, behind = first % _STRIDE, -end % _STRIDE
        start_s, first = start_s - in_front / fps, first - in_front
        end_s, end = end_s + behind / fps, end + behind
        # One row fewer than fit, as in ActionFormer's tool: it takes the end (end - 32) / 16 as exclusive.
        rows = FeatureRows(_text(entry, "video_uid"), first // _STRIDE, (end - _CLIP) // _STRIDE)
        if rows.end <= rows.first:
            defects.append(published.Defect("is too short for a row of features (left out)", _text(clip, "clip_uid")))
            return None
    actions = _actions(clip, start_s, rule, defects)
    duration_s = round(end_s - start_s, rule.decimals)
    subset = _SUBSETS[entry["split"]]
    return AnnotatedVideo(_text(clip, "clip_uid"), subset, actions, duration_s, fps, end - first, rows=rows)


def _actions(clip: dict[str, Any], start_s: float, rule: _Rule, defects: list[published.Defect]) -> tuple[Action, ...]:
    """Primary moments, in seconds from the clip's start (`start_s` of the video)."""
    actions = []
    # the labels' own clip times count from a round second, but the clip begins on a frame a little after it
    for label in (label for annotator in clip.get("annotations") or [] for label in annotator["labels"]):
        begin_s, end_s = label["video_start_time"], label["video_end_time"]
        first_s, last_s = (round(seconds - start_s, rule.decimals) for seconds in (begin_s, end_s))
        action = Action(first_s, last_s, _text(label, "label"))
        if label["primary"] and end_s - begin_s < rule.shortest_s:
            where = f"{_text(clip, 'clip_uid')}: {action.label} {action.start_s:g}-{action.end_s:g} s"
            defects.append(published.Defect(f"is shorter than {rule.shortest_s:g} s (left out)", where))
        elif label["primary"]:
            actions.append(action)
    return tuple(actions)


def _text(entry: dict[str, Any], key: str) -> str:  # Any: JSON values
    if not isinstance(entry[key], str):
        raise TypeError(f"{key} is {entry[key]!r}, which is not text")
    return str(entry[key])
