"""The rules by which published results were scored, each a row of choices under a name.

`evaluation.protocol` names one; the results say which. What the choices mean stands at the fields of `Protocol`.
"""

from dataclasses import dataclass
from typing import Literal

from actloc.settings.choices import ProtocolName


@dataclass(frozen=True)
class Protocol:
    """What counts as truth, what counts as found, and in which order."""

    drops_repeats: bool = False
    """Truth under 1 ms, and truth that repeats an earlier one of its class within 1 ms at both ends, does not count."""
    empty_pairs_match: bool = False
    """A prediction and a true action without length match, wherever they lie: 0 / 0 is below no threshold."""
    is_strict: bool = False
    """The overlap must exceed the threshold; otherwise equality is enough."""
    turn: Literal["predictions", "truth"] = "predictions"
    """Best first, each prediction takes its best free truth; or in file order, each truth takes its best free one."""
    skips_ambiguous: bool = False
    """A prediction that is not found and touches an Ambiguous interval of its video counts neither way."""
    is_interpolated: bool = True
    """Precision is made falling before its area is taken (VOC 2010)."""
    ties: Literal["last_sorted", "first_row"] = "last_sorted"
    """Of equal scores the later row goes first, rows sorted by video, label, start and end; or the earlier row of the
    file, videos by name."""
    unknown_labels_collide: bool = False
    """A label without truth is counted in the column of its number, as ActionFormer's code does (Q1)."""


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "actionformer": Protocol(drops_repeats=True),
    # for a comparison with numbers of the official code where some classes have no truth
    "actionformer_collisions": Protocol(drops_repeats=True, unknown_labels_collide=True),
    "activitynet": Protocol(empty_pairs_match=True),
    "qvhighlights": Protocol(empty_pairs_match=True, ties="first_row"),
    "thumos": Protocol(is_strict=True, turn="truth", is_interpolated=False, ties="first_row", skips_ambiguous=True),
    "thumos_without_ambiguous": Protocol(is_strict=True, turn="truth", is_interpolated=False, ties="first_row"),
}
ACTIONFORMER = PROTOCOLS["actionformer"]
