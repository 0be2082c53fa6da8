"""THUMOS14: 20 sports in 200 + 212 videos, from the official text files or ActionFormer's JSON."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations import form as annotation_form
from actloc.annotations import published
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.settings.sections import InputFileOrFolder, OptionalInputFolder
from actloc.video.folder import with_files

CLASSES = {
    7: "BaseballPitch",
    9: "BasketballDunk",
    12: "Billiards",
    21: "CleanAndJerk",
    22: "CliffDiving",
    23: "CricketBowling",
    24: "CricketShot",
    26: "Diving",
    31: "FrisbeeCatch",
    33: "GolfSwing",
    36: "HammerThrow",
    40: "HighJump",
    45: "JavelinThrow",
    51: "LongJump",
    68: "PoleVault",
    79: "Shotput",
    85: "SoccerPenalty",
    92: "TennisSwing",
    93: "ThrowDiscus",
    97: "VolleyballSpiking",
}
"""Classes by their official number, which is the number in UCF101. The numbers 1-20 of detclasslist.txt differ."""
_SUBSETS = {"val": "Validation", "test": "Test"}
_AMBIGUOUS = "Ambiguous"
# 1292 has only Ambiguous intervals; 270 is mostly annotated past its end; 1496 is reported as annotated wrongly
_LEFT_OUT = {213: (), 212: ("1292",), 211: ("1292", "0270"), 210: ("1292", "0270", "1496")}


class Config(DatasetConfig):
    """Where the annotations are, and which test set to score; training uses the validation videos."""

    annotations: InputFileOrFolder
    """ActionFormer's thumos14.json, or a folder of the official CLASS_val.txt and CLASS_test.txt files."""
    metadata: OptionalInputFolder = None
    """A folder of TSP's *_metadata.csv, with the durations and frame rates that the text files do not have."""
    videos: OptionalInputFolder = None
    """A folder of the videos, or of folders of their frames; folders in it, such as val and test, are searched too.
    null: features come from files."""
    test_set: Literal[210, 211, 212, 213] = 212
    """Number of test videos: 212 as in ActionFormer, 211 as in OpenTAD, 210 as in SSN; 213 adds one without actions."""
    training_subset: str = "Validation"
    """The subset that `train` uses: THUMOS trains on its validation videos."""
    evaluation_subset: str = "Test"
    """The subset that `eval` uses."""

    @property
    def variant(self) -> str:
        """The test set."""
        return f"test set {self.test_set}"

    def collect(self) -> Annotations:
        """Annotations of the chosen test set and of all validation videos."""
        if self.annotations.is_dir():
            annotations, ambiguous = _read_text_files(self.annotations)
        else:
            annotations, ambiguous = annotation_form.read_published(self.annotations, self.folder), []
        facts = published.read_videos_facts(self.metadata) if self.metadata else {}
        left_out = {f"video_test_000{number}" for number in _LEFT_OUT[self.test_set]}
        videos = published.without(annotations.videos, left_out)
        for video_id in videos.keys() & facts.keys():
            known = facts[video_id]
            video = replace(videos[video_id], duration_s=known.duration_s, fps=known.fps, frames=known.frames)
            videos[video_id] = video
        videos = with_files(videos, self.videos) if self.videos else videos
        console.say(f"Test set {self.test_set}: excluded {', '.join(sorted(left_out)) or 'no video'}")
        return published.settle(replace(annotations, videos=videos), published.Rule(), self.folder, ambiguous)

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """Text files that the contract test writes."""
        return cls(folder=folder / "prepared", annotations=folder / "txt", metadata=folder / "metadata")


def _read_text_files(folder: Path) -> tuple[Annotations, list[published.Defect]]:
    """All videos that the files name, and a defect for each Ambiguous interval: not a class, but used by protocols."""
    files = [path for path in sorted(folder.rglob("*_*.txt")) if path.stem.rpartition("_")[2] in _SUBSETS]
    if not files:
        raise UserError(
            f"{folder} has no file like Diving_val.txt or Diving_test.txt.",
            "Expected the unpacked TH14_Temporal_annotations_validation.zip and _test.zip.",
            "Set dataset.annotations to the folder of these files.",
        )
    actions: dict[str, list[Action]] = {}
    ambiguous: dict[str, list[tuple[float, float]]] = {}
    subset_of, classes, defects = {}, set(), []
    for path in files:
        label, _, split = path.stem.rpartition("_")
        for video_id, action in published.read_segment_lines(path, label):
            subset_of[video_id] = _SUBSETS[split]
            listed = actions.setdefault(video_id, [])
            if label == _AMBIGUOUS:
                where = f"{video_id}: {action.start_s:g}-{action.end_s:g} s"
                defects.append(
                    published.Defect("is Ambiguous, which is not a class (kept apart from the actions)", where)
                )
                ambiguous.setdefault(video_id, []).append((action.start_s, action.end_s))
            else:
                listed.append(action)
                classes.add(label)
    videos = {
        key: AnnotatedVideo(key, subset_of[key], tuple(actions[key]), ambiguous=tuple(ambiguous.get(key, ())))
        for key in sorted(actions)
    }
    return Annotations(tuple(sorted(classes)), videos, keeps_past_end=True), defects
