"""ActivityNet-1.3: 200 activities in 10,024 + 4,926 videos, from its own JSON, ActionFormer's, or TSP's tables."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, InputPath

_SUBSETS = {"train": "training", "valid": "validation", "test": "testing"}
_COLUMNS = ("video-name", "t-start", "t-end", "action-label", "video-duration", "fps", "video-frames")
# the list that ETAD's code ships; others block more (4,728 validation videos remain): theirs are the user's file
_BLOCKED_BY_ETAD = Path(__file__).with_name("activitynet13_blocked_by_etad.json")
_REGION, _IS_ACTION = "temporal-region-label", "Action"
_RULE = published.Rule(
    past_end="kept in the ground truth; training clips them with features.past_end=clip",
    duplicate="kept; the actionformer protocol and features.drop_duplicates leave them out",
)


class Config(DatasetConfig):
    """Where the annotations are, and which videos are blocked."""

    annotations: InputFileOrFolder
    """A JSON (ActivityNet's or ActionFormer's), or a folder of TSP's *_train_tsp_groundtruth.csv and *_valid_...csv."""
    blocked: Annotated[Literal["etad"] | Path | None, InputPath("file")] = None
    """Videos to leave out: etad, the 79 of ETAD's list; or a JSON list of ids, with or without v_; none keeps all."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "validation"
    """The subset that `eval` scores."""

    @property
    def variant(self) -> str:
        """The blocked list; a file goes by its name."""
        if self.blocked == "etad":
            return "without the 79 videos that ETAD blocks"
        return f"without the videos of {Path(self.blocked).name}" if self.blocked else "no video blocked"

    def collect(self) -> Annotations:
        """Annotations of every video that is not blocked."""
        if self.annotations.is_dir():
            found = _read_tables(self.annotations)
        else:
            found = annotation_form.read_published(self.annotations, self.folder)
        listed = _BLOCKED_BY_ETAD if self.blocked == "etad" else self.blocked
        videos = published.without(found.videos, _blocked(listed) if listed else set())
        console.say(f"Blocked list {self.blocked or 'none'}: {len(found.videos) - len(videos)} videos left out")
        return published.settle(replace(found, videos=videos), _RULE, self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """TSP's tables, which the contract test writes, and a list of one blocked id."""
        return cls(folder=folder / "prepared", annotations=folder / "tsp", blocked=folder / "blocked.json")


def _blocked(path: Path) -> set[str]:
    """The ids of a list, or the keys of an object as the evaluation server once gave it."""
    listed = files.read_json(path)
    if not isinstance(listed, list | dict) or not all(isinstance(video_id, str) for video_id in listed):
        raise UserError(f"{path} is no JSON list of ids.", 'Expected ["F_EHrfbYsRE", ...].', "Set dataset.blocked.")
    return {video_id.removeprefix("v_") if len(video_id) == 13 else video_id for video_id in listed}


def _read_tables(folder: Path) -> Annotations:
    """The rows that are actions; TSP's `No action` rows fill the gaps between them."""
    paths = {path: path.stem.split("_")[-3] for path in sorted(folder.glob("*_tsp_groundtruth.csv"))}
    if not paths or not set(paths.values()) <= set(_SUBSETS):
        raise UserError(
            f"{folder} holds no tables of TSP, or others than train, valid and test.",
            "Expected activitynet_v1-3_train_tsp_groundtruth.csv and activitynet_v1-3_valid_tsp_groundtruth.csv.",
            "Set dataset.annotations to their folder, or to ActivityNet's JSON.",
        )
    videos: dict[str, AnnotatedVideo] = {}
    for path, split in paths.items():
        for row in published.read_rows(path, (*_COLUMNS, _REGION)):
            video_id = row["video-name"]
            if video_id not in videos:
                videos[video_id] = _video(row, _SUBSETS[split], path)
            if row[_REGION] == _IS_ACTION:
                start_s, end_s = published.number(row["t-start"], path), published.number(row["t-end"], path)
                action = Action(start_s, end_s, row["action-label"])
                videos[video_id] = replace(videos[video_id], actions=(*videos[video_id].actions, action))
    classes = sorted({action.label for video in videos.values() for action in video.actions})
    return Annotations(tuple(classes), dict(sorted(videos.items())), keeps_past_end=True)


def _video(row: dict[str, str], subset: str, path: Path) -> AnnotatedVideo:
    return AnnotatedVideo(
        row["video-name"],
        subset,
        duration_s=published.number(row["video-duration"], path),
        fps=published.number(row["fps"], path),
        frames=int(published.number(row["video-frames"], path)),
    )
