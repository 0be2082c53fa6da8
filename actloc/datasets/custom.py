"""Your own videos: a folder of videos and a CSV `video,start,end,label[,subset]`, or a JSON like ActivityNet's."""

import re
from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations import model
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.annotations.subsets import chosen_by_hash, problems_of_subsets
from actloc.annotations.tables import TOO_MANY, read_table
from actloc.datasets.base import DatasetConfig
from actloc.errors import Problem
from actloc.files import is_unsafe_id
from actloc.settings.sections import InputFile, InputFolder
from actloc.video.folder import VIDEO_SUFFIXES, videos_by_id, with_all_facts

_COLUMNS = {
    "video": ("video", "video_id", "id", "file", "filename", "name"),
    "start": ("start", "start_s", "start_time", "begin", "t_start", "t-start"),
    "end": ("end", "end_s", "end_time", "stop", "t_end", "t-end"),
    "label": ("label", "class", "action", "activity"),
    "subset": ("subset", "split"),
}


class Config(DatasetConfig):
    """Where the videos are, and the file that lists their actions."""

    videos: InputFolder
    """The folder of videos; the id of a video is its file name without extension."""
    annotations: InputFile
    """A CSV `video,start,end,label[,subset]` (seconds or H:MM:SS), or a JSON like ActivityNet's."""

    def collect(self) -> Annotations:
        """Annotations of every video that is in the folder or in the file."""
        found = videos_by_id(self.videos, skip=self.annotations)
        subsets = [self.training_subset, self.evaluation_subset, self.validation_subset]
        if self.annotations.suffix.lower() == ".json":
            named = {
                video.id: replace(video, file=found.get(video.id, self.videos / video.id))
                for video in annotation_form.read(self.annotations).videos.values()
            }
            places: dict[tuple[str, int], str] = {}
            problems: list[Problem] = []
        else:
            named, places, problems = _read_csv(self.annotations, self.videos, found, subsets)
        _warn_of_absent(named, found, self.videos)
        videos = {**{video_id: AnnotatedVideo(video_id, "", file=file) for video_id, file in found.items()}, **named}
        videos = with_all_facts(videos)
        videos = _with_subsets(videos, self.training_subset, self.evaluation_subset)
        classes = sorted({action.label for video in videos.values() for action in video.actions})
        result = Annotations(tuple(classes), videos)
        problems += model.check(result, places)
        # without the rows that are wrong, a subset may seem empty
        if not problems:
            members = ((video.subset, bool(video.actions)) for video in videos.values())
            problems = problems_of_subsets(self.annotations, members, subsets, "a column `subset`")
        model.raise_problems(self.annotations, problems, self.folder)
        background = [video.id for video in videos.values() if not video.actions]
        if background:
            verb = "has no annotations and is" if len(background) == 1 else "have no annotations and are"
            share = f"{len(background)} of {console.count(len(videos), 'video')}"
            console.say(f"{share} {verb} used as background: {console.first_ten(background)}")
        return model.clip_past_end(result)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A folder that the contract test fills."""
        return cls(folder=folder / "prepared", videos=folder / "videos", annotations=folder / "labels.csv")


def _with_subsets(videos: dict[str, AnnotatedVideo], training: str, evaluation: str) -> dict[str, AnnotatedVideo]:
    """Assigns the videos without a subset."""
    chosen = chosen_by_hash((video_id for video_id, video in videos.items() if not video.subset), training, evaluation)
    return {video_id: replace(video, subset=chosen.get(video_id, video.subset)) for video_id, video in videos.items()}


def _warn_of_absent(named: dict[str, AnnotatedVideo], found: dict[str, Path], folder: Path) -> None:
    """Warns about ids without a video: probably misspelled, most likely those of videos without rows."""
    unnamed = found.keys() - named.keys()
    for video_id in sorted(named.keys() - found.keys()):
        near = console.nearest(video_id, unnamed, lists_known=False)
        console.warn(f"{folder} has no video {video_id}{near}", id=video_id)


def _read_csv(
    path: Path, folder: Path, found: dict[str, Path], subsets: list[str]
) -> tuple[dict[str, AnnotatedVideo], dict[tuple[str, int], str], list[Problem]]:
    """Videos by id, the line of each action, and the problems of the rows."""
    problems: list[Problem] = []
    actions: dict[str, list[Action]] = {}
    subset_of: dict[str, str] = {}
    files_of: dict[str, Path] = {}
    written: dict[str, str] = {}  # cells with a path or an extension: two videos with one id would differ in them
    places = {}
    for line, row in read_table(path, _COLUMNS, ["subset"], "dataset.annotations"):
        where = f"{path}:{line}"
        video_id = _video_id(row["video"], found)
        action, problem = _action(row)
        problem = row[TOO_MANY] or problem
        if is_unsafe_id(video_id):
            problem = f"the id {video_id!r} is empty or would leave its folder"
        if problem or action is None:
            problems.append(Problem(where, problem))
            continue
        subset = row.get("subset", "")
        if subset and subset not in subsets:
            problems.append(Problem(where, f"unknown subset {subset!r}{console.nearest(subset, subsets)}"))
        elif subset and subset_of.setdefault(video_id, subset) != subset:
            problems.append(Problem(where, f"{video_id} is in {subset_of[video_id]!r} above and in {subset!r} here"))
        if video_id != row["video"] and written.setdefault(video_id, row["video"]) != row["video"]:
            problems.append(Problem(where, f"{video_id} is {written[video_id]} above and {row['video']} here"))
        files_of[video_id] = found.get(video_id, folder / row["video"])
        places[video_id, len(actions.setdefault(video_id, []))] = where
        actions[video_id].append(action)
    videos = {
        video_id: AnnotatedVideo(video_id, subset_of.get(video_id, ""), tuple(listed), file=files_of[video_id])
        for video_id, listed in actions.items()
    }
    return videos, places, problems


def _video_id(text: str, found: dict[str, Path]) -> str:
    """The id meant by a cell: an id, a file name, or a path whose file name is that of a video in the folder."""
    if text in found:
        return text
    suffix = Path(text).suffix
    video_id = text.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else text
    *folders, name = re.split(r"[/\\]", video_id)  # Windows paths too
    return name if name in found and ".." not in folders else video_id


def _action(row: dict[str, str]) -> tuple[Action | None, str]:
    start_s, end_s = _seconds(row["start"]), _seconds(row["end"])
    if start_s is None or end_s is None:
        bad = row["start"] if start_s is None else row["end"]
        return None, f"cannot read the time {bad!r}; expected seconds or H:MM:SS"
    if not row["label"]:
        return None, "the label is empty"
    return Action(start_s, end_s, row["label"]), ""


def _seconds(text: str) -> float | None:
    """Seconds of `12.5`, `12,5`, `1:02.5` or `0:01:02.5`."""
    match = re.fullmatch(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d*[.,]?\d+|\d+[.,])|-\d*[.,]?\d+", text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    if seconds is None:  # a negative number, which the check of all actions reports
        return float(text.replace(",", "."))
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
