"""The list of everything that a run contradicts, the most suspicious first."""

from actloc.diagnosis.labels import boundaries, classes, missed, unlabelled
from actloc.diagnosis.labels.suspicion import MATCH, Judged, Judgement, Suspicion, overlap

_LEAST = 0.05
"""What is less suspicious is not listed."""


def ranked(judgement: Judgement) -> list[Suspicion]:
    """One row for each annotation, of the kind that is most suspicious, and one for each segment without one.

    A segment that is already suggested in place of an annotation in a more suspicious row is the same mistake, and is
    not listed again.
    """
    rows = [row for one in judgement.videos for row in _of_video(judgement, one)]
    return sorted(
        (row for row in rows if row.suspicion >= _LEAST), key=lambda row: (-row.suspicion, row.video_id, row.start_s)
    )


def _of_video(judgement: Judgement, one: Judged) -> list[Suspicion]:
    rows = []
    for number in range(len(one.video.actions)):
        of_kinds = [
            missed.found(judgement, one, number),
            boundaries.found(judgement, one, number),
            classes.found(one, number),
        ]
        rows.append(max((row for row in of_kinds if row), key=lambda row: row.suspicion))
    for extra in unlabelled.found(judgement, one):
        assert extra.suggested is not None, "it is what was found"
        is_told = any(
            row.action
            and row.suggested
            and overlap(row.suggested, extra.suggested) >= MATCH
            and row.suspicion >= _LEAST
            for row in rows
        )
        if not is_told:
            rows.append(extra)
    return rows
