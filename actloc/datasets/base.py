"""The interface of datasets: which videos there are, in which subset, with which actions."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations.labelled_lists import ClipList
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.settings.sections import Fraction, InputFolder, InputPath, Part, Shapes
from actloc.video import labelled_clips
from actloc.video.clip_files import ClipFiles

_ANY_CLASS = "action"
_VIDEOS = "videos"
"""The setting of a folder whose files are no annotations, and may be many."""
_TEXTS = (".csv", ".json", ".txt")


class DatasetConfig(Part):
    """Settings that every dataset has; each dataset adds its own and reads its original annotations."""

    shapes = "nothing"

    has_actions: ClassVar[bool] = True
    """False for videos without annotations: `extract-features` prepares and uses them, and nothing can be trained."""

    writes_lists: ClassVar[bool] = False
    """True for clips of single actions: `prepare` also writes the lists that code for recognition reads."""

    has_own_labels: ClassVar[bool] = False
    """True where users write the class names themselves, so that near names may be misspelled ones."""

    folder: Path
    """Where `prepare` writes annotations.json, and the videos that it makes, if any."""
    training_subset: Annotated[str, Shapes("weights")] = "train"
    """The subset that `train` uses."""
    evaluation_subset: str = "test"
    """The subset that `eval` uses."""
    validation_subset: str = "validation"
    """A third subset, which `train` scores if training.validation_subset names it."""
    min_longest_share: Annotated[Fraction, Shapes("weights")] = 0.0
    """Train only on videos with an action that takes more than this share of the video (ETAD on ActivityNet: 0.01);
    0: on all videos."""
    min_action_share: Annotated[Fraction, Shapes("weights")] = 0.0
    """Train only on actions that take more than this share of their video; 0: on all actions."""
    class_agnostic: Annotated[bool, Shapes("detections")] = False
    """Merge all classes into one, called action."""

    @property
    def has_videos(self) -> bool:
        """Whether features can be made of the videos; false where only features of them are there."""
        return True

    @property
    def annotations_file(self) -> Path:
        """The annotations that `prepare` writes and every other command reads."""
        return self.folder / "annotations.json"

    @property
    def variant(self) -> str:
        """A short name for the published variant that these settings choose; empty if there is only one.

        `prepare` writes it into the annotations, everything that reads them compares it, and results include it.
        """
        return ""

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """The classes of a dataset that has published ones; None where they are found in its files."""
        return None

    def is_prepared(self) -> bool:
        """Whether `prepare` has written annotations; for videos alone, whether they list the videos of the folder."""
        return self.annotations_file.exists()

    def sources(self) -> list[Path]:
        """The files that `collect` reads annotations from; if they change, the prepared annotations are outdated."""
        found: list[Path] = []
        for name, field in type(self).model_fields.items():
            path = getattr(self, name)
            kinds = [mark.kind for mark in field.metadata if isinstance(mark, InputPath)]
            if not kinds or not isinstance(path, Path):
                continue
            if path.is_dir() and name != _VIDEOS:
                entries = (*path.glob("*"), *path.glob("*/*"))  # no deeper: millions of frames may be there
                texts = (file for file in entries if file.suffix.lower() in _TEXTS and file.is_file())
                found += [file for file in texts if file.parent != self.folder]  # those are what `prepare` writes
            elif path.is_file():
                found.append(path)
        return found

    def sides(self, annotations: Annotations) -> dict[str, str]:
        """The subset of each video by the name that subsets.csv keeps it under; nothing where the dataset has subsets.

        `annotations` are those that `collect` returned.
        """
        return {}

    @abstractmethod
    def collect(self) -> Annotations:
        """Reads the original annotations, makes videos if the dataset needs any, and returns all annotations, checked.

        Raises UserError listing every problem of the original files.
        """

    @classmethod
    def small(cls, folder: Path) -> "DatasetConfig":
        """Settings of a tiny dataset in `folder`; the contract tests prepare it.

        It writes their files, unless `tests/datasets/raw.py` does, as for datasets with published annotations.
        """
        return cls(folder=folder)


class ClipsConfig(DatasetConfig):
    """Settings of datasets whose videos are clips of one action each, or whose lists name parts of videos as clips."""

    writes_lists: ClassVar[bool] = True

    videos: InputFolder
    """The folder of clips: videos, or folders of their frames (img_00001.jpg, 00001.png ...), at any depth in it."""
    allow_missing: bool = False
    """Leave out clips whose video is missing or cannot be read; false: refuse. missing_videos.txt lists them."""

    @model_validator(mode="after")
    def _does_not_write_among_the_clips(self) -> Self:
        if self.folder.absolute().is_relative_to(self.videos.absolute()):
            raise ValueError(f"folder: {self.folder} is in {self.videos}, where its videos would be taken for clips")
        return self

    @abstractmethod
    def listed(self, found: ClipFiles) -> ClipList:
        """The clips that the dataset's lists name, or those of the folders; `found` are the files of `videos`."""

    def collect(self) -> Annotations:
        """Every clip is a video with an action of its whole length for each of its labels."""
        found = ClipFiles(self.videos)
        listed = self.listed(found)
        return labelled_clips.annotated(listed, found, self.folder, allow_missing=self.allow_missing)


def read_prepared(dataset: DatasetConfig, arguments: str) -> Annotations:
    """The prepared annotations, with all classes merged into one if the dataset is `class_agnostic`.

    `arguments` follow `actloc prepare` in messages. Raises UserError if there are no annotations, or if they are of
    another variant than the one that the settings choose.
    """
    file = dataset.annotations_file
    if not file.exists():
        raise UserError(
            f"{file} does not exist.",
            "Expected the file that `actloc prepare` writes; relative paths start at the current folder.",
            f"Run: actloc prepare {arguments}",
        )
    annotations = annotation_form.read(file)
    chosen = dataset.variant
    if annotations.variant != chosen:
        raise UserError(
            f"{file} is of another variant: {annotations.variant or 'none'}; the settings choose: {chosen or 'none'}.",
            "Expected the variant that the settings choose: numbers of different variants are not comparable.",
            f"Replace it: actloc prepare {arguments} --overwrite; "
            "or keep both: set dataset.folder=ANOTHER_FOLDER in all commands",
        )
    if not dataset.class_agnostic:
        return annotations
    videos = {
        video.id: replace(video, actions=tuple(replace(action, label=_ANY_CLASS) for action in video.actions))
        for video in annotations.videos.values()
    }
    return replace(annotations, classes=(_ANY_CLASS,), videos=videos)


def for_training(dataset: DatasetConfig, annotations: Annotations) -> Annotations:
    """The annotations without the training videos and actions that the settings leave out; prints how many.

    Raises UserError if a training video has no duration to compare with, or if no action is left to train on.
    """
    if not dataset.min_longest_share and not dataset.min_action_share:
        return annotations
    videos, left_out, num_actions = dict(annotations.videos), [], 0
    for video in annotations.of_subset(dataset.training_subset):
        shares = _shares(video)
        if dataset.min_longest_share and max(shares, default=0) <= dataset.min_longest_share:
            left_out.append(video.id)
            del videos[video.id]
        elif dataset.min_action_share:
            pairs = zip(video.actions, shares, strict=True)
            actions = tuple(action for action, share in pairs if share > dataset.min_action_share)
            num_actions += len(video.actions) - len(actions)
            videos[video.id] = replace(video, actions=actions)
    kept = replace(annotations, videos=videos)
    longest, shortest = dataset.min_longest_share, dataset.min_action_share
    if (left_out or num_actions) and not any(video.actions for video in kept.of_subset(dataset.training_subset)):
        raise UserError(
            f"No training action takes more than {max(longest, shortest):g} of its video.",
            "Expected at least one longer action to train on.",
            "Lower dataset.min_longest_share and dataset.min_action_share, or set both to 0 to train on all actions.",
        )
    if left_out:
        counted = console.count(len(left_out), "training video")
        reason = f"without an action of more than {longest:g} of the video (dataset.min_longest_share)"
        console.say(f"Left out {counted} {reason}: {console.first_ten(left_out)}")
    if num_actions:
        counted = console.count(num_actions, "training action")
        console.say(f"Left out {counted} of no more than {shortest:g} of the video (dataset.min_action_share)")
    return kept


def with_actions(dataset: DatasetConfig, annotations: Annotations) -> Annotations:
    """The annotations; raises UserError if no training video has an action, from which nothing can be learned."""
    videos = annotations.of_subset(dataset.training_subset)
    if any(video.actions for video in videos):
        return annotations
    known = sorted({video.subset for video in annotations.videos.values() if video.actions})
    raise UserError(
        f"{dataset.annotations_file} has {console.count(len(videos), 'video')} in {dataset.training_subset!r}, and no "
        "action in them.",
        "Expected annotated actions to train on.",
        f"Annotate some, or name a subset that has some: dataset.training_subset={known[0] if known else 'NAME'}",
    )


def _shares(video: AnnotatedVideo) -> list[float]:
    """The share of the video that each of its actions takes."""
    if not video.duration_s:
        raise UserError(
            f"{video.id} has no duration, which dataset.min_longest_share and dataset.min_action_share need.",
            "Expected a duration of every training video in the annotations.",
            "Prepare the dataset from files that contain durations, or set both to 0.",
        )
    return [(action.end_s - action.start_s) / video.duration_s for action in video.actions]
