"""The rules by which published results are scored: each protocol is a name and a row of choices.

`evaluation.protocol` names one, and the results record it. The fields of `Protocol` explain the choices.
"""

from dataclasses import dataclass
from typing import Literal

from actloc.settings.choices import ProtocolName


@dataclass(frozen=True)
class Protocol:
    """Which ground truth counts, which predictions match it, and in which order."""

    drops_repeats: bool = False
    """Ignore true actions shorter than 1 ms, and those that repeat an earlier one of their class within 1 ms."""
    empty_pairs_match: bool = False
    """A prediction and a true action of zero length match wherever they are: 0 / 0 is not below any threshold."""
    is_strict: bool = False
    """The tIoU must exceed the threshold; otherwise equality is enough."""
    turn: Literal["predictions", "truth"] = "predictions"
    """Who chooses: each prediction, best score first, or each true action, in the order of the file.

    It takes the unmatched one on the other side that it overlaps most.
    """
    skips_ambiguous: bool = False
    """Ignore a prediction without a match that overlaps an Ambiguous interval of its video."""
    is_interpolated: bool = True
    """Make precision non-increasing in recall before taking the area under it (PASCAL VOC 2010)."""
    ties: Literal["last_sorted", "first_row"] = "last_sorted"
    """Which of equal scores goes first: the last row, sorted by video, label, start and end; or the first row of the
    file, with videos sorted by name."""
    unknown_labels_collide: bool = False
    """Count a label without ground truth in the column of its number, a bug of ActionFormer's evaluation code."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "actionformer": Protocol(drops_repeats=True),
    # to compare with numbers of the official code when some classes have no ground truth
    "actionformer_collisions": Protocol(drops_repeats=True, unknown_labels_collide=True),
    "activitynet": Protocol(empty_pairs_match=True),
    "qvhighlights": Protocol(empty_pairs_match=True, ties="first_row"),
    "thumos": Protocol(is_strict=True, turn="truth", is_interpolated=False, ties="first_row", skips_ambiguous=True),
    "thumos_without_ambiguous": Protocol(is_strict=True, turn="truth", is_interpolated=False, ties="first_row"),
}
ACTIONFORMER = PROTOCOLS["actionformer"]
