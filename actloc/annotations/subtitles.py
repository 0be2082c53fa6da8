"""The text of subtitles: what our labels look like in them, and what is a label in those of others."""

import html
import re
from collections.abc import Sequence

from actloc.annotations.rows import Listed, Row, Segment

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
_SCORE = re.compile(r"(.*\S) \((\d\.\d\d|\d\.\de-\d\d)\)", re.DOTALL)


def cue_text(segment: Segment) -> str:
    """The label on one line, with its score in brackets; characters that begin a tag or an entity are escaped."""
    text = html.escape(segment.label, quote=False).replace("{", "&#123;").replace("\n", "&#10;")
    if segment.score is None:
        return text
    score = segment.score
    return f"{text} ({f'{score:.2f}' if score >= 0.005 or score <= 0 else f'{score:.1e}'})"


def label_of(lines: Sequence[str]) -> str:
    """The text of a cue without tags, on one line."""
    return html.unescape(_TAG.sub("", " ".join(line.strip() for line in lines))).strip()


def without_scores(listed: Listed) -> Listed:
    """The rows with their scores taken off the labels, if every label ends with one, as in subtitles that we write."""
    matches = [_SCORE.fullmatch(row.label) for row in listed.rows]
    if matches and all(matches):
        listed.rows = [
            Row(row.video, row.start_s, row.end_s, match[1], row.where, score=float(match[2]))
            for row, match in zip(listed.rows, matches, strict=True)
            if match
        ]
    return listed
