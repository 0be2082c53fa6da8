"""Reports how many actions of each class each subset has, and what is odd about the classes."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations

_MOST_ROWS = 20
_MOST_LINES = 10
_FEW_VIDEOS = 5
_FEW_ACTIONS = 20
_UNSEEN = re.compile(r"[\s_\-\u2010-\u2015\u200b-\u200d\u2060\ufeff]")
"""Blanks, dashes, and characters without width."""
_NEAR = 0.88
"""The likeness (difflib's ratio) of names that may be misspelled: running and runing, but not cutting and putting."""


def report(annotations: Annotations, training: str, evaluation: str, *, has_own_labels: bool) -> None:
    """Prints a table of the classes, or their number if there are many, and warns of what is probably a mistake."""
    subsets = list(dict.fromkeys((training, evaluation)))
    counts = {subset: _counts(annotations.of_subset(subset)) for subset in subsets}
    if 0 < len(annotations.classes) <= _MOST_ROWS:
        table = Table("class", *(f"actions in {console.clean(subset)}" for subset in subsets))
        for name in annotations.classes:
            table.add_row(
                console.clean(repr(name) if name != name.strip() else name),
                *(str(counts[subset][name]) for subset in subsets),
            )
        console.result_table(table)
    _warn_of_spellings(annotations.classes, has_own_labels=has_own_labels)
    to_learn, to_score = counts[training], counts[evaluation]
    is_scored = to_score.total() > 0
    one_sided = [name for name in annotations.classes if not to_learn[name] or (is_scored and not to_score[name])]
    if len(one_sided) <= _MOST_LINES:
        for name in one_sided:
            console.warn(f"{name}: {console.count(to_learn[name], 'action')} to learn from, {to_score[name]} to score")
    else:
        _warn_of_many(annotations.classes, to_learn, training, "to learn from")
        _warn_of_many(annotations.classes, to_score, evaluation, "to score")
    _warn_of_few(annotations.of_subset(evaluation), to_score.total(), evaluation)


def is_tiny(num_videos: int, num_actions: int) -> bool:
    """Whether a test set is so small that a few actions decide its results."""
    return num_videos < _FEW_VIDEOS or num_actions < _FEW_ACTIONS


def _counts(videos: list[AnnotatedVideo]) -> Counter[str]:
    return Counter(action.label for video in videos for action in video.actions)


def _warn_of_many(classes: Sequence[str], counts: Counter[str], subset: str, what_for: str) -> None:
    without = [name for name in classes if not counts[name]]
    if without and counts:
        have = "has" if len(without) == 1 else "have"
        share = f"{len(without)} of {console.count(len(classes), 'class', 'classes')}"
        console.warn(f"{share} {have} no action {what_for} in {subset}: {console.first_ten(without)}")


def _warn_of_few(videos: list[AnnotatedVideo], num_actions: int, subset: str) -> None:
    if num_actions and is_tiny(len(videos), num_actions):
        size = f"{console.count(len(videos), 'video')} with {console.count(num_actions, 'action')}"
        console.warn(f"{subset} is small: {size}. Results on so few change much by chance")


def _warn_of_spellings(classes: Sequence[str], *, has_own_labels: bool) -> None:
    """Warns of names that may be one class; of near ones only where the user wrote the names."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(_UNSEEN.sub("", unicodedata.normalize("NFKC", name)).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(map(repr, names))
            composed = {unicodedata.normalize("NFC", name) for name in names}
            how = "how accents are written" if len(composed) == 1 else "letter case, blanks, - or _"
            console.warn(f"{listed} differ only in {how}, and are {len(names)} classes")
    if not has_own_labels:
        return
    letters = {key: re.sub(r"\d", "", key) for key in alike}  # class_1 and class_2 are meant to be near
    for number, key in enumerate(plain := sorted(alike)):
        later = [other for other in plain[number + 1 :] if letters[other] != letters[key]]
        for near in difflib.get_close_matches(key, later, n=3, cutoff=_NEAR):
            console.warn(f"{alike[key][0]!r} and {alike[near][0]!r} are nearly the same name, and are 2 classes")
