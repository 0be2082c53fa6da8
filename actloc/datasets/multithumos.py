"""MultiTHUMOS: 65 classes, densely labelled, on the videos of THUMOS14; official text files or super-events' JSON."""

from pathlib import Path

from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFile

_NUM_CLASSES, _FIRST = 65, 1


class Config(DatasetConfig):
    """Where the annotations and the names of the classes are."""

    annotations: InputFileOrFolder
    """multithumos.json, whose classes are numbers from 1 to 65, or a folder of the official CLASS.txt files."""
    class_names: OptionalInputFile = None
    """The official class_list.txt, lines `1 BaseballPitch`; without it the JSON's classes are called class_01 to
    class_65, and those of text files are numbered in the order of their names."""
    training_subset: str = "training"
    """The subset that `train` learns from."""
    evaluation_subset: str = "testing"
    """The subset that `eval` scores."""

    def collect(self) -> Annotations:
        """Annotations of every video, all 65 classes in the order of their numbers."""
        if self.annotations.is_dir():
            found = _read_text_files(self.annotations, self.class_names)
        else:
            found = published.read_numbered_actions(
                self.annotations, _NUM_CLASSES, _FIRST, self.class_names, lambda number: f"class_{number:02d}"
            )
        return published.settle(found, published.Rule(), self.folder)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A file that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "multithumos.json")


def _read_text_files(folder: Path, names: Path | None) -> Annotations:
    """One file per class, BaseballPitch.txt; THUMOS's validation videos are the ones to learn from."""
    files = {path.stem: path for path in sorted(folder.glob("*.txt")) if path.stem not in ("class_list", "README")}
    classes = tuple(published.read_class_names(names).values()) if names else tuple(files)
    if len(files) != _NUM_CLASSES or set(files) != set(classes):
        odd = ", ".join(sorted(set(files) ^ set(classes))[:5]) or "none is named otherwise"
        raise UserError(
            f"{folder} holds {len(files)} text files; {odd}.",
            f"Expected one for each of the {_NUM_CLASSES} classes, as dataset.class_names calls them.",
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
