"""MultiTHUMOS: 65 densely labelled classes on THUMOS14's videos, from the official text files or super-events' JSON."""

from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_NUM_CLASSES, _FIRST = 65, 1


class Config(DatasetConfig):
    """Where the annotations and the class names are."""

    annotations: InputFileOrFolder
    """multithumos.json, with classes numbered 1 to 65, or a folder of the official CLASS.txt files."""
    class_names: OptionalInputFile = None
    """The official class_list.txt, lines `1 BaseballPitch`. null: the JSON's classes are named class_01 to class_65,
    and those of text files are in alphabetical order."""
    frame_rates: OptionalInputFile = None
    """A file in ActivityNet's form that says each video's frame rate, such as ActionFormer's thumos14.json; the
    annotations do not. null: unknown, so that features count frames at `features.fps`."""
    training_subset: str = "training"
    """The subset that `train` uses."""
    evaluation_subset: str = "testing"
    """The subset that `eval` uses."""

    def collect(self) -> Annotations:
        """Annotations of every video, all 65 classes in the order of their numbers."""
        if self.annotations.is_dir():
            annotations = _read_text_files(self.annotations, self.class_names)
        else:
            annotations = published.read_numbered_actions(
                self.annotations, _NUM_CLASSES, _FIRST, self.class_names, lambda number: f"class_{number:02d}"
            )
        if self.frame_rates is not None:
            annotations = _with_rates(annotations, self.frame_rates)
        return published.settle(annotations, published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "multithumos.json")


def _with_rates(annotations: Annotations, file: Path) -> Annotations:
    """The annotations with the frame rates in `file`; raises UserError if it has none of the videos, warns of some."""
    rates = {video.id: video.fps for video in annotation_form.read_published(file, file.parent).videos.values()}
    unknown = [video_id for video_id in annotations.videos if rates.get(video_id) is None]
    if len(unknown) == len(annotations.videos):
        raise UserError(
            f"{file} has the frame rate of none of {console.count(len(unknown), 'video')}.",
            "Expected a file with `fps` of THUMOS14's videos.",
            "Set dataset.frame_rates to ActionFormer's thumos14.json, or to null.",
        )
    if unknown:
        console.warn(
            f"{file} has no frame rate of {console.first_ten(unknown)}: their features count frames at features.fps"
        )
    videos = {video_id: replace(video, fps=rates.get(video_id)) for video_id, video in annotations.videos.items()}
    return replace(annotations, videos=videos)


def _read_text_files(folder: Path, names: Path | None) -> Annotations:
    """Reads one file per class, like BaseballPitch.txt; THUMOS's validation videos are for training."""
    files = {path.stem: path for path in sorted(folder.glob("*.txt")) if path.stem not in ("class_list", "README")}
    classes = tuple(published.read_class_names(names).values()) if names else tuple(files)
    if len(files) != _NUM_CLASSES or set(files) != set(classes):
        differing = console.first_ten(sorted(set(files) ^ set(classes)))
        raise UserError(
            f"{folder} has {console.count(len(files), 'text file')}"
            f"{f'; missing or unexpected: {differing}' if differing else ''}.",
            f"Expected one for each of the {_NUM_CLASSES} classes, named as in dataset.class_names.",
            "Set dataset.annotations to MultiTHUMOS's folder annotations, or to multithumos.json.",
        )
    actions: dict[str, list[Action]] = {}
    for label in classes:
        for video_id, action in published.read_segment_lines(files[label], label):
            actions.setdefault(video_id, []).append(action)
    videos = {
        video_id: AnnotatedVideo(video_id, "testing" if "_test_" in video_id else "training", tuple(listed))
        for video_id, listed in sorted(actions.items())
    }
    return Annotations(classes, videos, keeps_past_end=True)
