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
_COLUMNS: dict[str, tuple[str, ...]] = {"video": ("video",), "subset": ("subset",)}


@dataclass(frozen=True)
class Member:
    """A video to be put on a side."""

    name: str
    """What subsets.csv calls it: its path below the folder of videos."""
    id: str
    labels: Collection[str]
    subset: str
    """As the annotations state it; empty if they do not."""


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

    Nothing is written. Raises UserError if subsets.csv in `folder` cannot be read.
    """
    listed = list(members)
    chosen = {member.name: member.subset for member in listed if member.subset}
    open_members = [member for member in listed if not member.subset]
    if not open_members:
        return chosen
    kept = _kept(open_members, {member.name for member in listed}, folder)
    new = {member.name: evaluation if _is_for_evaluation(member.id) else training for member in open_members}
    if not kept and training != evaluation:
        groups = _groups(member for member in listed if member.subset in ("", training, evaluation))
        sides = {name: subset == evaluation for name, subset in {**new, **chosen}.items()}
        for name in fewest_moves(sides, sorted(new, key=_digest), groups):
            new[name] = training if sides[name] else evaluation
    return {**new, **kept, **chosen}


def write(folder: Path, subset_of: Mapping[str, str]) -> None:
    """Keeps the subset of each video; a video that is gone keeps its line, since it may come back."""
    every = {**read(folder), **subset_of}
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


def _kept(members: list[Member], present: set[str], folder: Path) -> dict[str, str]:
    """The subsets of the members that were in subsets.csv, or else in the annotations, before.

    A video that was moved to another folder or has another suffix now is known by its name.
    """
    listed = read(folder)
    kept = {member.name: listed[member.name] for member in members if member.name in listed}
    gone: dict[str, set[str]] = {}
    for name, subset in listed.items():
        if name not in present:
            gone.setdefault(PurePosixPath(name).stem, set()).add(subset)
    for member in members:
        moved = gone.get(PurePosixPath(member.name).stem, set())
        if member.name not in kept and len(moved) == 1:
            kept[member.name] = next(iter(moved))
    missing = [member for member in members if member.name not in kept]
    before = _prepared_before(folder / "annotations.json") if missing and not listed else {}
    return {**kept, **{member.name: before[member.id] for member in missing if member.id in before}}


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
            problems.append(Problem(str(source), what))
        elif not has_actions[subset] and not (may_be_unlabelled and subset != allowed[0]):
            what = f"no action is in the subset {subset!r}; assign its videos in {where_assigned}"
            problems.append(Problem(str(source), what))
    return problems
