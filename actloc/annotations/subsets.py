"""Which of a user's own videos are for training and which for evaluation: chosen once, and kept in subsets.csv.

The first choice starts from a hash of each id and moves as few videos as possible, so that every class is on both
sides. Later videos go by their hash alone, and none ever moves: a test video that was once trained on, or the other way
round, would make results wrong.
"""

import csv
import hashlib
import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actloc import console, files
from actloc.annotations.balancing import fewest_moves
from actloc.annotations.tables import TOO_MANY, read_table
from actloc.errors import Problem, UserError

_NAME = "subsets.csv"
_ONE_IN = 5
UNLABELLED = "unlabelled"
"""The subset of videos that nobody has annotated."""
_COLUMNS: dict[str, tuple[str, ...]] = {"video": ("video",), "subset": ("subset",)}
_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What folders and tables call subsets, with the usual names."""


@dataclass(frozen=True)
class Member:
    """A video to be put on a side."""

    name: str
    """What subsets.csv calls it: its path below the folder of videos."""
    id: str
    labels: Collection[str]
    subset: str
    """As the annotations state it; empty if they do not."""


def meanings(allowed: Iterable[str]) -> dict[str, str]:
    """The subset that each word in small letters means; `allowed` are those that the settings name."""
    return {**_WORDS, **{name.lower(): name for name in allowed}}


def file_in(folder: Path) -> Path:
    """The file in a dataset's folder that keeps the subset of every video."""
    return folder / _NAME


def name_of(file: Path | None, videos: Path | None, video_id: str) -> str:
    """What subsets.csv calls a video: its path below the folder of videos, the same on every machine; else its id."""
    if file is None or videos is None or not file.is_relative_to(videos):
        return _composed(video_id)
    return _composed(file.relative_to(videos).as_posix())


def with_subsets(members: Iterable[Member], folder: Path, training: str, evaluation: str) -> dict[str, str]:
    """The subset of each member by its name: stated, or kept from before in `folder`, or chosen.

    One that was unlabelled before, and is not stated to be so any more, is for training. Nothing is written. Raises
    UserError if subsets.csv in `folder` cannot be read.
    """
    listed = list(members)
    chosen = {member.name: member.subset for member in listed if member.subset}
    open_members = [member for member in listed if not member.subset]
    if not open_members:
        return chosen
    before = _kept(open_members, {member.name for member in listed}, folder)
    kept = {name: training if subset == UNLABELLED else subset for name, subset in before.items()}
    new = {member.name: evaluation if _is_for_evaluation(member.id) else training for member in open_members}
    if not kept and training != evaluation:
        groups = _groups(member for member in listed if member.subset in ("", training, evaluation))
        sides = {name: subset == evaluation for name, subset in {**new, **chosen}.items()}
        for name in fewest_moves(sides, sorted(new, key=_digest), groups):
            new[name] = training if sides[name] else evaluation
    return {**new, **kept, **chosen}


def write(folder: Path, subset_of: Mapping[str, str]) -> None:
    """Keeps the subset of each video; a video that is gone keeps its line, since it may come back.

    One that was moved, or has another suffix now, has a line for its new place only.
    """
    listed = read(folder)
    stale = {name for names in moved(listed, subset_of).values() for name in names}
    every = {**{name: subset for name, subset in listed.items() if name not in stale}, **subset_of}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([("video", "subset"), *sorted(every.items())])
    path = file_in(folder)
    if not path.is_file() or files.read_bytes(path) != text.getvalue().encode():
        files.write_text(path, text.getvalue())


def read(folder: Path) -> dict[str, str]:
    """The subset of each video by its name, as subsets.csv in a dataset's folder keeps it; nothing without the file."""
    path = file_in(folder)
    if not path.is_file():
        return {}
    found = {}
    for line, row in read_table(path, _COLUMNS, [], "dataset.folder"):
        if not row["video"] or not row["subset"] or row[TOO_MANY]:
            raise UserError(
                f"{path}:{line}: found {row['video']},{row['subset']}{row[TOO_MANY] and ', and more cells'}.",
                "Expected the name of a video and its subset.",
                "Fix the line.",
            )
        found[_composed(row["video"])] = row["subset"]
    return found


def moved(listed: Mapping[str, str], present: Iterable[str]) -> dict[str, list[str]]:
    """The names that a video had before, by its name now, for videos in another folder or with another suffix.

    `listed` has the subset of each name before. A video is known by its file name if no other new one has the same, and
    if all before that are gone were in one subset.
    """
    now = set(present)
    gone, come = _by_file_name(listed.keys() - now), _by_file_name(now - listed.keys())
    return {
        names[0]: gone[stem]
        for stem, names in come.items()
        if len(names) == 1 and len({listed[name] for name in gone.get(stem, ())}) == 1
    }


def _by_file_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(PurePosixPath(name).stem.casefold(), []).append(name)
    return found


def _kept(members: list[Member], present: set[str], folder: Path) -> dict[str, str]:
    """The subsets of the members that were in subsets.csv, or else in the annotations, before."""
    listed = read(folder)
    before = moved(listed, present)
    names = {member.name: before.get(member.name, [member.name])[0] for member in members}
    kept = {name: listed[old] for name, old in names.items() if old in listed}
    missing = [member for member in members if member.name not in kept]
    prepared = _prepared_before(folder / "annotations.json") if missing and not listed else {}
    return {**kept, **{member.name: prepared[member.id] for member in missing if member.id in prepared}}


def _prepared_before(path: Path) -> dict[str, str]:
    """The subset of each id in annotations that an older version prepared, which kept no subsets.csv."""
    if not path.is_file():
        return {}
    try:
        form = files.read_json(path)
    except UserError as error:
        console.warn(f"{error.found} The videos that it put into subsets may change sides.")
        return {}
    database = form.get("database") if isinstance(form, dict) else None
    entries = database.items() if isinstance(database, dict) else ()
    return {
        video_id: entry["subset"]
        for video_id, entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("subset"), str) and entry["subset"]
    }


def _groups(members: Iterable[Member]) -> list[set[str]]:
    """What should be on both sides, the most important first: any video, any action, and each class."""
    listed = list(members)
    of_class: dict[str, set[str]] = {}
    for member in listed:
        for label in member.labels:
            of_class.setdefault(label, set()).add(member.name)
    annotated = {member.name for member in listed if member.labels}
    return [{member.name for member in listed}, annotated, *(of_class[label] for label in sorted(of_class))]


def _is_for_evaluation(video_id: str) -> bool:
    return int(_digest(video_id), 16) % _ONE_IN == 0


def _digest(name: str) -> str:
    return hashlib.sha256(_composed(name).encode("utf-8", "surrogateescape")).hexdigest()


def _composed(name: str) -> str:
    """The name with accents as one letter (NFC): macOS writes them apart, and names must not depend on the machine."""
    return unicodedata.normalize("NFC", name)


def problems_of_subsets(
    source: Path,
    members: Iterable[tuple[str, bool]],
    allowed: list[str],
    where_assigned: str,
    *,
    may_be_unlabelled: bool = False,
) -> list[Problem]:
    """Subsets that no setting names, and training and evaluation (the first two) without videos or actions.

    `members` has the subset of each video, and whether the video has an action. Evaluation may have none if
    `may_be_unlabelled`: predictions are then written, and not scored.
    """
    has_actions: dict[str, bool] = {}
    for subset, has_action in members:
        has_actions[subset] = has_actions.get(subset, False) or has_action
    found = sorted(has_actions)
    how = f"the videos are in {', '.join(found)}; set dataset.training_subset= and dataset.evaluation_subset= to yours"
    problems = [Problem(str(source), f"unknown subset {name!r}; {how}") for name in found if name not in allowed]
    for subset in allowed[:2]:
        if subset not in has_actions:
            what = f"no video is in the subset {subset!r}; assign one in {where_assigned}"
            others = [name for name in found if name and name not in allowed[:2]]
            setting = "training" if subset == allowed[0] else "evaluation"
            if others:
                what += f", or set dataset.{setting}_subset={others[0]}"
            elif setting == "training" and allowed[1] in has_actions:
                what += f", or, only to score predictions, set dataset.training_subset={allowed[1]}"
            problems.append(Problem(str(source), what))
        elif not has_actions[subset] and not (may_be_unlabelled and subset != allowed[0]):
            what = f"no action is in the subset {subset!r}; assign its videos in {where_assigned}"
            problems.append(Problem(str(source), what))
    return problems
