"""Ego4D Moment Queries: 110 moments in clips of about 8 minutes; from the moments files or ActionFormer's JSON."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeFloat

from actloc import annotations as annotation_form
from actloc import files, raw_forms
from actloc.annotations import Action, AnnotatedVideo, Annotations
from actloc.config import InputFileOrFolder, OptionalInputFile
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError

_SUBSETS = {"train": "training", "val": "validation", "test": "test", "test_unannotated": "test"}
_DECIMALS = 4


class Config(DatasetConfig):
    """Where the annotations are; a clip is a video of its own, and its times are counted from its first frame."""

    name: Literal["ego4d_mq"] = "ego4d_mq"
    annotations: InputFileOrFolder
    """A folder of moments_train.json, moments_val.json and moments_test_unannotated.json, or ActionFormer's JSON."""
    class_names: OptionalInputFile = None
    """ActionFormer's label map, lines `000<tab>name`; without it the names in ASCII order, which is the same."""
    shortest_action_s: NonNegativeFloat = 0.0
    """Leave out shorter moments; ActionFormer's tool leaves out those below 0.25."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "validation"
    """The subset that `eval` scores."""

    def collect(self) -> Annotations:
        """Primary moments of every clip; a moment that several people marked stands there several times."""
        if self.annotations.is_dir():
            found, defects = _read_moments(self.annotations)
        else:
            found, defects = annotation_form.read_published(self.annotations, self.folder), []
        if self.class_names:
            found = replace(found, classes=tuple(raw_forms.read_class_names(self.class_names).values()))
        videos = {}
        for video in found.videos.values():
            kept = tuple(a for a in video.actions if a.end_s - a.start_s >= self.shortest_action_s)
            videos[video.id] = replace(video, actions=kept)
            kind = f"is shorter than {self.shortest_action_s:g} s (left out)"
            short = [action for action in video.actions if action not in kept]
            defects += [raw_forms.Defect(kind, f"{video.id}: {a.label} {a.start_s:g}-{a.end_s:g} s") for a in short]
        return raw_forms.settle(replace(found, videos=videos), raw_forms.Rule(), self.folder, defects)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Moments that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "moments")


def _read_moments(folder: Path) -> tuple[Annotations, list[raw_forms.Defect]]:
    """All clips; labelled ones without a primary moment are left out, as ActionFormer's and OpenTAD's tools do."""
    paths = sorted(folder.glob("moments_*.json"))
    if not paths:
        raise UserError(
            f"{folder} holds no moments_*.json.",
            "Expected moments_train.json and moments_val.json.",
            "Set dataset.annotations to the folder that holds them.",
        )
    videos = {}
    for path in paths:
        try:
            for entry in files.read_json(path)["videos"]:
                subset = _SUBSETS[entry["split"]]
                videos.update({clip["clip_uid"]: _clip(clip, subset) for clip in entry["clips"]})
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not in the form of Ego4D's moments: {error!r}.",
                "Expected videos with a split and clips with clip_uid, times and annotations.",
                "Download it again with the Ego4D command line.",
            ) from error
    empty = {video.id for video in videos.values() if video.subset != "test" and not video.actions}
    defects = [raw_forms.Defect("has no primary moment (left out)", video_id) for video_id in sorted(empty)]
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    kept = raw_forms.without(dict(sorted(videos.items())), empty)
    return Annotations(tuple(classes), kept, keeps_past_end=True), defects


def _clip(clip: dict[str, Any], subset: str) -> AnnotatedVideo:  # Any: JSON; a missing key is told by the caller
    start_s, end_s = clip["video_start_sec"], clip["video_end_sec"]
    frames = clip["video_end_frame"] - clip["video_start_frame"]
    # clips begin on a frame, a little after the round second that the labels' own clip times count from
    actions = tuple(
        Action(
            round(label["video_start_time"] - start_s, _DECIMALS),
            round(label["video_end_time"] - start_s, _DECIMALS),
            label["label"],
        )
        for annotator in clip.get("annotations") or []
        for label in annotator["labels"]
        if label["primary"]
    )
    duration_s = round(end_s - start_s, _DECIMALS)
    return AnnotatedVideo(clip["clip_uid"], subset, actions, duration_s, frames / duration_s, frames)
