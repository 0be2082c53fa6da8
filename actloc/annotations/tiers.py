"""The tiers of which annotations are read."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from actloc import console
from actloc.annotations.rows import Row
from actloc.errors import UserError

OWN_TIER = "label"
"""The tier that is written; segments that overlap are on `label 2`, `label 3` and so on, which are one with it."""
_OWN = re.compile(rf"{OWN_TIER} [1-9]\d*")


def own_tier(place: int) -> str:
    """The name of the tier for the first segments (place 0), or for those that overlap them."""
    return f"{OWN_TIER} {place + 1}" if place else OWN_TIER


def chosen(rows: Sequence[Row], tiers: Sequence[str], setting: str, source: object) -> list[Row]:
    """The rows of the chosen tiers; raises UserError if none of several was chosen, or a chosen one is missing."""
    counts = Counter(_group(row.tier) for row in rows)
    listed = ", ".join(f"{name or '(no name)'} ({console.count(number, 'row')})" for name, number in counts.items())
    missing = [tier for tier in tiers if tier not in counts and _group(tier) not in counts]
    if missing:
        raise UserError(
            f"{source} has no tier {', '.join(missing)}{console.nearest(missing[0], counts, lists_known=False)}",
            f"Expected some of its tiers: {listed or 'it has none with a segment'}.",
            f"Set {setting} to those that hold the actions.",
        )
    if tiers:
        return [row for row in rows if row.tier in tiers or _group(row.tier) in tiers]
    if len(counts) > 1:
        first = max(counts, key=lambda name: counts[name])
        raise UserError(
            f"{source} has several tiers: {listed}.",
            "Expected one, or the names of those that hold the actions.",
            f"Choose, for example: {shlex.quote(f'{setting}=[{first}]')}",
        )
    return list(rows)


def _group(tier: str) -> str:
    return OWN_TIER if _OWN.fullmatch(tier) else tier
