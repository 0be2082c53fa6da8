"""ActivityNet-1.3: 200 activities in 10,024 + 4,926 videos, from the official JSON, ActionFormer's or TSP's tables."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from actloc import console, files
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, InputPath, OptionalInputFolder
from actloc.video.folder import with_files

_SUBSETS = {"train": "training", "valid": "validation", "test": "testing"}
_COLUMNS = ("video-name", "t-start", "t-end", "action-label", "video-duration", "fps", "video-frames")
# the list in ETAD's code; other projects exclude more (4,728 validation videos remain): users give those lists
_BLOCKED_BY_ETAD = Path(__file__).with_name("activitynet13_blocked_by_etad.json")
_REGION, _IS_ACTION = "temporal-region-label", "Action"
_RULE = published.Rule(
    past_end="kept in the ground truth; clipped in training with features.past_end=clip",
    duplicate="kept; the actionformer protocol and features.drop_duplicates ignore it",
)


class Config(DatasetConfig):
    """Where the annotations are, and which videos to exclude."""

    annotations: InputFileOrFolder
    """ActivityNet's or ActionFormer's JSON, or a folder of TSP's *_train_tsp_groundtruth.csv and *_valid_...csv."""
    videos: OptionalInputFolder = None
    """A folder of the videos, named by their ids with or without v_; folders in it are searched too. null: features
    come from files."""
    blocked: Annotated[Literal["etad"] | Path | None, InputPath("file")] = None
    """Videos to exclude: etad for the 79 in ETAD's list, or a JSON list of ids, with or without v_. null: keep all."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "validation"
    """The subset that `eval` uses."""

    @property
    def variant(self) -> str:
        """Names the blocked list; a file by its name."""
        if self.blocked == "etad":
            return "without the 79 videos that ETAD blocks"
        return f"without the videos of {Path(self.blocked).name}" if self.blocked else "no video blocked"

    def collect(self) -> Annotations:
        """Annotations of every video that is not on the blocked list."""
        if self.annotations.is_dir():
            annotations = _read_tables(self.annotations)
        else:
            annotations = annotation_form.read_published(self.annotations, self.folder)
        listed = _BLOCKED_BY_ETAD if self.blocked == "etad" else self.blocked
        videos = published.without(annotations.videos, _blocked(listed) if listed else set())
        videos = with_files(videos, self.videos, prefix="v_") if self.videos else videos
        excluded = console.count(len(annotations.videos) - len(videos), "video")
        console.say(f"Excluded {excluded} (blocked list: {self.blocked or 'none'})")
        return published.settle(replace(annotations, videos=videos), _RULE, self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """TSP's tables, which the contract test writes, and a blocked list of one id."""
        return cls(folder=folder / "prepared", annotations=folder / "tsp", blocked=folder / "blocked.json")


def _blocked(path: Path) -> set[str]:
    """Ids from a list, or from the keys of an object (the form of ActivityNet's evaluation server)."""
    listed = files.read_json(path)
    if not isinstance(listed, list | dict) or not all(isinstance(video_id, str) for video_id in listed):
        raise UserError(f"{path} is not a JSON list of ids.", 'Expected ["F_EHrfbYsRE", ...].', "Fix or replace it.")
    # YouTube's ids have 11 characters
    return {video_id.removeprefix("v_") if len(video_id) == 13 else video_id for video_id in listed}


def _read_tables(folder: Path) -> Annotations:
    """Reads the rows that are actions; TSP's `No action` rows only fill the gaps between them."""
    paths = {path: path.stem.split("_")[-3] for path in sorted(folder.glob("*_tsp_groundtruth.csv"))}
    if not paths or not set(paths.values()) <= set(_SUBSETS):
        raise UserError(
            f"{folder} has no TSP tables, or has tables other than train, valid and test.",
            "Expected activitynet_v1-3_train_tsp_groundtruth.csv and activitynet_v1-3_valid_tsp_groundtruth.csv.",
            "Set dataset.annotations to the folder of these tables, or to ActivityNet's JSON.",
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
