"""Reads lists of labelled clips as recognition code writes them: lines `path label`, `path frames label` and, of parts
of videos, `path offset frames label`."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actloc import console, files
from actloc.errors import Problem, UserError

Columns = Literal["path label", "path frames label", "path offset frames label"]
_NAMES: dict[int, Columns] = {1: "path label", 2: "path frames label", 3: "path offset frames label"}
_NUMBER_AT_END = re.compile(r"[\s,;]+(-?\d{1,15})[\s,;]*$")
_MOST_LABELS = 1000  # on one line
_MOST_CLASSES = 100_000  # a larger label cannot be a class number


@dataclass(frozen=True)
class LabelledClip:
    """A clip as a list names it: a whole video, or `frames` of its frames from number `offset` on."""

    path: str
    """As written; its last parts say where the file is below the folder of videos, with or without a suffix."""
    labels: tuple[str, ...]
    subset: str
    where: str
    """File and line, for messages."""
    frames: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class ClipList:
    """The clips of a dataset, its classes in the order of their numbers, and what is wrong with its lists."""

    source: Path
    """The file or folder that names the clips."""
    classes: tuple[str, ...]
    clips: list[LabelledClip]
    problems: list[Problem]


@dataclass(frozen=True)
class _Line:
    """A line from its end: each number there, with the text before it."""

    where: str
    numbers: list[int]
    before: list[str]


def read(
    lists: dict[str, Path], columns: Columns | None, classes: tuple[str, ...] | None, *, multi_label: bool = False
) -> ClipList:
    """Reads the list of each subset; spaces, tabs or commas separate the columns, and paths may contain them.

    Without `columns`, those are the numbers that most lines end with. With `multi_label`, which needs `columns`, a line
    may have several labels. Without `classes`, these are named class_000 and so on. Raises UserError if no line is a
    clip's.
    """
    lines = {subset: _lines(path, _MOST_LABELS if multi_label else len(_NAMES)) for subset, path in lists.items()}
    counts = Counter(len(line.numbers) for listed in lines.values() for line in listed if line.numbers)
    if not counts:
        raise UserError(
            f"{' and '.join(map(str, lists.values()))}: no line ends with a label.",
            "Expected lines such as `run/clip_01.mp4 300 2`: a path, its number of frames and the number of its class.",
            "Set dataset.training_list, validation_list and test_list to such lists.",
        )
    columns = columns or _NAMES[counts.most_common(1)[0][0]]
    console.say(f"Read {' and '.join(map(str, lists.values()))} as `{columns}`")
    clips: list[LabelledClip] = []
    problems: list[Problem] = []
    if classes is None:
        every = (line for listed in lines.values() for line in listed)
        largest = max(max(_split(line, columns, multi_label)[0], default=0) for line in every)
        classes = tuple(f"class_{number:03d}" for number in range(min(largest, _MOST_CLASSES) + 1))
    for subset, listed in lines.items():
        for line in listed:
            clip, problem = _clip(line, subset, columns, classes, multi_label)
            clips += [clip] if clip else []
            problems += [Problem(line.where, problem)] if problem else []
    return ClipList(next(iter(lists.values())), classes, clips, problems)


def _lines(path: Path, most_numbers: int) -> list[_Line]:
    found = []
    for number, text_line in enumerate(files.read_lines(path), 1):
        rest, line = text_line.strip(), _Line(f"{path}:{number}", [], [])
        while len(line.numbers) < most_numbers and (match := _NUMBER_AT_END.search(rest)):
            rest = rest[: match.start()]
            line.numbers.append(int(match[1]))
            line.before.append(rest)
        if rest or line.numbers:
            found.append(line)
    return found


def _clip(
    line: _Line, subset: str, columns: Columns, classes: tuple[str, ...], multi_label: bool
) -> tuple[LabelledClip | None, str]:
    """The clip of a line, or what is wrong with the line."""
    labels, others = _split(line, columns, multi_label)
    if not labels:
        return None, f"ends with {console.count(len(line.numbers), 'number')}; expected `{columns}`"
    path = line.before[len(labels) + len(others) - 1].strip().strip("\"'")
    wrong = [number for number in labels if not 0 <= number < len(classes)]
    if not path:
        return None, "the path is empty"
    if wrong:
        return None, f"label {wrong[0]}; expected 0 to {len(classes) - 1}"
    frames = others[0] if others else None
    offset = others[1] if len(others) > 1 else None
    if frames is not None and frames < 1:
        return None, f"{frames} frames; expected at least 1"
    if offset is not None and offset < 0:
        return None, f"offset {offset}; expected 0 or more"
    names = tuple(dict.fromkeys(classes[number] for number in reversed(labels)))
    return LabelledClip(path, names, subset, line.where, frames, offset), ""


def _split(line: _Line, columns: Columns, multi_label: bool) -> tuple[list[int], list[int]]:
    """The labels and the other numbers of a line, each from its end; none if it has too few."""
    num_others = columns.count(" ") - 1
    if len(line.numbers) <= num_others:
        return [], []
    num_labels = len(line.numbers) - num_others if multi_label else 1
    return line.numbers[:num_labels], line.numbers[num_labels : num_labels + num_others]
