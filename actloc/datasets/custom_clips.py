"""Your own clips, one action each: folders `class/video.mp4`, or any folder and a CSV `video,label[,subset]`."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from actloc.annotations import subsets
from actloc.annotations.labelled_lists import ClipList, LabelledClip
from actloc.annotations.model import Annotations
from actloc.annotations.tables import TOO_MANY, read_table
from actloc.datasets.base import ClipsConfig
from actloc.errors import Problem
from actloc.settings.sections import OptionalInputFile
from actloc.video.clip_files import ClipFiles, unique_ids

_COLUMNS = {
    "video": ("video", "video_id", "id", "file", "filename", "path", "name"),
    "label": ("label", "class", "action", "activity"),
    "subset": ("subset", "split"),
}


class Config(ClipsConfig):
    """Where the clips are and, unless folders name the classes, the file that lists them.

    A clip's id is its file name without suffix; if several have one name, also the folders that they are in.
    """

    has_own_labels: ClassVar[bool] = True

    labels: OptionalInputFile = None
    """A CSV `video,label[,subset]`. null: a folder for each class, in the folder of clips or in its folders train, val
    and test."""

    def listed(self, found: ClipFiles) -> ClipList:
        """The clips of the CSV or of the folders; a hash of its id puts about one in five without a subset into
        evaluation."""
        allowed = [self.training_subset, self.evaluation_subset, self.validation_subset]
        meant = subsets.meanings(allowed)
        if self.labels:
            clips, problems = _from_csv(self.labels, meant)
        else:
            clips, problems = _from_folders(found, meant)
        if not problems:
            clips = self._with_subsets(clips, found)
            where = "a column `subset`" if self.labels else "folders train and test"
            members = ((clip.subset, True) for clip in clips)
            problems = subsets.problems_of_subsets(self.labels or self.videos, members, allowed, where)
        classes = tuple(sorted({label for clip in clips for label in clip.labels}))
        return ClipList(self.labels or self.videos, classes, clips, problems)

    def sources(self) -> list[Path]:
        """The CSV, if there is one, and the subsets that are kept."""
        kept = subsets.file_in(self.folder)
        return [*super().sources(), *([kept] if kept.is_file() else [])]

    def sides(self, annotations: Annotations) -> dict[str, str]:
        """The subset of every clip by its path in the folder."""
        return {subsets.name_of(one.file, self.videos, one.id): one.subset for one in annotations.videos.values()}

    def _with_subsets(self, clips: list[LabelledClip], found: ClipFiles) -> list[LabelledClip]:
        """Assigns the clips without a subset; of those that are missing, any."""
        file_of = found.find(dict.fromkeys(clip.path for clip in clips))
        ids = unique_ids(file_of.values(), found.folder)
        labels: dict[Path, set[str]] = {}
        stated: dict[Path, str] = {}
        for clip in clips:
            if clip.path in file_of:
                file = file_of[clip.path]
                labels.setdefault(file, set()).update(clip.labels)
                stated[file] = stated.get(file) or clip.subset
        names = {file: subsets.name_of(file, self.videos, ids[file]) for file in labels}
        members = (subsets.Member(names[file], ids[file], labels[file], stated[file]) for file in labels)
        chosen = subsets.with_subsets(members, self.folder, self.training_subset, self.evaluation_subset)
        subset_of = {path: chosen[names[file]] for path, file in file_of.items()}
        return [replace(clip, subset=subset_of.get(clip.path, clip.subset or self.training_subset)) for clip in clips]

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
