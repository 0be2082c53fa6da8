"""The text of subtitles: what our labels look like in them, and what is a label in those of others."""

import html
import re
from collections.abc import Sequence

from actloc.annotations.rows import Listed, Segment

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
_SCORE = re.compile(r"(.*\S) \((\d\.\d\d|\d\.\de-\d\d)\)", re.DOTALL)


def cue_text(segment: Segment) -> str:
    """The label on one line, with its score in brackets; characters that begin a tag or an entity are escaped."""
    text = html.escape(segment.label, quote=False).replace("{", "&#123;").replace("\n", "&#10;")
    if segment.score is None:
        return text.replace("(", "&#40;") if _SCORE.fullmatch(text) else text
    score = segment.score
    return f"{text} ({f'{score:.2f}' if score >= 0.005 or score <= 0 else f'{score:.1e}'})"


def text_of(lines: Sequence[str]) -> str:
    """The text of a cue on one line, without tags; entities are still in it."""
    return _TAG.sub("", " ".join(line.strip() for line in lines)).strip()


def with_labels(listed: Listed) -> Listed:
    """The rows with labels in place of texts; scores are taken off, if every text ends with one, as in our subtitles.

    Rows without a text are left out.
    """
    rows, listed.rows = listed.rows, []
    matches = [_SCORE.fullmatch(row.label) for row in rows]
    for row, match in zip(rows, matches if all(matches) else [None] * len(rows), strict=True):
        label = html.unescape(match[1] if match else row.label).strip()
        if label:
            listed.rows.append(row._replace(label=label, score=float(match[2]) if match else None))
        else:
            listed.leave_out(row.where, "it has no text")
    return listed
