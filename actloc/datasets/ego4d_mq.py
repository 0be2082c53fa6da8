"""Ego4D Moment Queries: 110 moments in clips of about 8 minutes; from the moments files or ActionFormer's JSON."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from actloc import annotations as annotation_form
from actloc import files, raw_forms
from actloc.annotations import Action, AnnotatedVideo, Annotations, FeatureRows
from actloc.config import InputFileOrFolder, OptionalInputFile
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError

_SUBSETS = {"train": "training", "val": "validation", "test": "test", "test_unannotated": "test"}
_STRIDE, _CLIP = 16, 32  # frames of Ego4D's features: a row every 16, each of 32


@dataclass(frozen=True)
class _Rule:
    """How a converter makes a clip of the moments files' numbers."""

    decimals: int
    """Of all times."""
    shortest_s: float = 0.0
    """Shorter moments are left out."""
    rates: tuple[float, float] = (0.0, float("inf"))
    """Clips of other frames per second are left out."""
    whole_strides: bool = False
    """The clip begins and ends up to 15 frames further out, where rows of its video's features do, and knows its rows;
    its duration and frames count what was added."""


_RULES = {
    "actionformer": _Rule(decimals=2, shortest_s=0.25, rates=(10.0, 100.0), whole_strides=True),
    "opentad": _Rule(decimals=4),
}


class Config(DatasetConfig):
    """Where the annotations are; a clip is a video of its own, and its times are counted from its first frame."""

    name: Literal["ego4d_mq"] = "ego4d_mq"
    annotations: InputFileOrFolder
    """A folder of moments_train.json, moments_val.json and moments_test_unannotated.json, or ActionFormer's JSON."""
    class_names: OptionalInputFile = None
    """ActionFormer's label map, lines `000<tab>name`; without it the names in ASCII order, which is the same."""
    clips: Literal["actionformer", "opentad"] = "actionformer"
    """Whose clips they are, also by which rule moments files become clips. actionformer: cut from the features of whole
    videos, so a clip begins and ends with a row of them, up to 15 frames further out, and moments under 0.25 s are left
    out; opentad: every clip and moment as it stands, for features made of the clips."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "validation"
    """The subset that `eval` scores."""

    @property
    def variant(self) -> str:
        """Whose clips they are: starts, and what counts as a moment, differ."""
        return f"clips of {self.clips}"

    def collect(self) -> Annotations:
        """Primary moments of every clip; a moment that several people marked stands there several times."""
        if self.annotations.is_dir():
            found, defects = _read_moments(self.annotations, _RULES[self.clips])
        else:
            found, defects = annotation_form.read_published(self.annotations, self.folder), []
        if self.class_names:
            found = replace(found, classes=tuple(raw_forms.read_class_names(self.class_names).values()))
        return raw_forms.settle(found, raw_forms.Rule(), self.folder, defects)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Moments that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "moments")


def _read_moments(folder: Path, rule: _Rule) -> tuple[Annotations, list[raw_forms.Defect]]:
    """All clips; labelled ones without a primary moment are left out, as ActionFormer's and OpenTAD's tools do."""
    paths = sorted(folder.glob("moments_*.json"))
    if not paths:
        raise UserError(
            f"{folder} holds no moments_*.json.",
            "Expected moments_train.json and moments_val.json.",
            "Set dataset.annotations to the folder that holds them.",
        )
    videos: dict[str, AnnotatedVideo] = {}
    defects: list[raw_forms.Defect] = []
    for path in paths:
        try:
            for entry in files.read_json(path)["videos"]:
                clips = [_clip(clip, entry, rule, defects) for clip in entry["clips"]]
                videos.update({clip.id: clip for clip in clips if clip is not None})
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise UserError(
                f"{path} is not in the form of Ego4D's moments: {error!r}.",
                "Expected videos with a split and clips with clip_uid, times and annotations.",
                "Download it again with the Ego4D command line.",
            ) from error
    empty = {video.id for video in videos.values() if video.subset != "test" and not video.actions}
    defects += [raw_forms.Defect("has no primary moment (left out)", video_id) for video_id in sorted(empty)]
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    kept = raw_forms.without(dict(sorted(videos.items())), empty)
    return Annotations(tuple(classes), kept, keeps_past_end=True), defects


def _clip(
    clip: dict[str, Any], entry: dict[str, Any], rule: _Rule, defects: list[raw_forms.Defect]
) -> AnnotatedVideo | None:
    """One clip of a video's entry, or a defect and none; a missing key is told by the caller."""
    start_s, end_s = clip["video_start_sec"], clip["video_end_sec"]
    first, end = clip["video_start_frame"], clip["video_end_frame"]
    if rule.whole_strides:
        start_s, first = max(start_s, 0.0), max(first, 0)
    fps = (end - first) / (end_s - start_s)
    if not rule.rates[0] <= fps <= rule.rates[1]:
        defects.append(raw_forms.Defect(f"has {fps:g} frames per second (left out)", clip["clip_uid"]))
        return None
    rows = None
    if rule.whole_strides:
        in_front, behind = first % _STRIDE, -end % _STRIDE
        start_s, first = start_s - in_front / fps, first - in_front
        end_s, end = end_s + behind / fps, end + behind
        # One row fewer than fit, as in ActionFormer's tool: it takes the end (end - 32) / 16 as exclusive.
        rows = FeatureRows(entry["video_uid"], first // _STRIDE, (end - _CLIP) // _STRIDE)
        if rows.end <= rows.first:
            defects.append(raw_forms.Defect("is too short for a row of features (left out)", clip["clip_uid"]))
            return None
    actions = _actions(clip, start_s, rule, defects)
    duration_s = round(end_s - start_s, rule.decimals)
    subset = _SUBSETS[entry["split"]]
    return AnnotatedVideo(clip["clip_uid"], subset, actions, duration_s, fps, end - first, rows=rows)


def _actions(clip: dict[str, Any], start_s: float, rule: _Rule, defects: list[raw_forms.Defect]) -> tuple[Action, ...]:
    """Primary moments in seconds from `start_s` of the video, where the clip begins."""
    actions = []
    # clips begin on a frame, a little after the round second that the labels' own clip times count from
    for label in (label for annotator in clip.get("annotations") or [] for label in annotator["labels"]):
        begin_s, end_s = label["video_start_time"], label["video_end_time"]
        action = Action(round(begin_s - start_s, rule.decimals), round(end_s - start_s, rule.decimals), label["label"])
        if label["primary"] and end_s - begin_s < rule.shortest_s:
            where = f"{clip['clip_uid']}: {action.label} {action.start_s:g}-{action.end_s:g} s"
            defects.append(raw_forms.Defect(f"is shorter than {rule.shortest_s:g} s (left out)", where))
        elif label["primary"]:
            actions.append(action)
    return tuple(actions)
