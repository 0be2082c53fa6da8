"""Your own clips, one action each: folders `class/video.mp4`, or any folder and a CSV `video,label[,subset]`."""

from dataclasses import replace
from pathlib import Path

from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.subsets import chosen_by_hash, problems_of_subsets
from actloc.annotations.tables import TOO_MANY, read_table
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem
from actloc.settings.sections import OptionalInputFile
from actloc.video.clip_files import ClipFiles

_COLUMNS = {
    "video": ("video", "video_id", "id", "file", "filename", "path", "name"),
    "label": ("label", "class", "action", "activity"),
    "subset": ("subset", "split"),
}
_SUBSETS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, and of subsets in a CSV, with the subsets that they mean."""


class Config(ClipsConfig):
    """Where the clips are and, unless folders name the classes, the file that lists them.

    A clip's id is its file name without suffix; if several have one name, also the folders that they are in.
    """

    labels: OptionalInputFile = None
    """A CSV `video,label[,subset]`. null: a folder for each class, in the folder of clips or in its folders train, val
    and test."""

    def listed(self, found: ClipFiles) -> ClipList:
        """The clips of the CSV or of the folders; of those without a subset, every fifth is for evaluation."""
        subsets = [self.training_subset, self.evaluation_subset, self.validation_subset]
        meant = {**_SUBSETS, **{name.lower(): name for name in subsets}}
        if self.labels:
            clips, problems = _from_csv(self.labels, meant)
        else:
            clips, problems = _from_folders(found, meant)
        open_paths = {clip.path for clip in clips if not clip.subset}
        chosen = chosen_by_hash(open_paths, self.training_subset, self.evaluation_subset)
        clips = [replace(clip, subset=clip.subset or chosen[clip.path]) for clip in clips]
        if not problems:
            where = "a column `subset`" if self.labels else "folders train and test"
            members = ((clip.subset, True) for clip in clips)
            problems = problems_of_subsets(self.labels or self.videos, members, subsets, where)
        classes = tuple(sorted({label for clip in clips for label in clip.labels}))
        return ClipList(self.labels or self.videos, classes, clips, problems)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A folder that the contract test fills."""
        return cls(folder=folder / "prepared", videos=folder / "videos")


def _from_csv(path: Path, meant: dict[str, str]) -> tuple[list[LabelledClip], list[Problem]]:
    clips, problems = [], []
    for line, row in read_table(path, _COLUMNS, ["subset"], "dataset.labels"):
        problem = row[TOO_MANY] or ("" if row["video"] else "the video is empty")
        problem = problem or ("" if row["label"] else "the label is empty")
        if problem:
            problems.append(Problem(f"{path}:{line}", problem))
            continue
        subset = meant.get(row.get("subset", "").lower(), row.get("subset", ""))
        clips.append(LabelledClip(row["video"], (row["label"],), subset, f"{path}:{line}"))
    return clips, problems


def _from_folders(found: ClipFiles, meant: dict[str, str]) -> tuple[list[LabelledClip], list[Problem]]:
    """The classes are the folders in the folder; if all of these are named as subsets, the folders in them."""
    paths = [path.relative_to(found.folder) for path in found.found]
    has_subsets = bool(paths) and all(path.parts[0].lower() in meant for path in paths)
    depth = 3 if has_subsets else 2
    clips, problems = [], []
    for path in paths:
        if len(path.parts) != depth:
            expected = "train/class/video.mp4" if has_subsets else "class/video.mp4"
            problems.append(Problem(str(found.folder / path), f"expected {expected} below {found.folder}"))
            continue
        subset = meant[path.parts[0].lower()] if has_subsets else ""
        clips.append(LabelledClip(str(path), (path.parts[-2],), subset, str(found.folder / path)))
    return clips, problems
