"""Segments without an annotation that score above most annotated ones."""

from collections.abc import Iterator

from actloc.annotations.annotated_time import is_mostly_outside
from actloc.diagnosis.labels.suspicion import Judged, Judgement, Suspicion, as_action, overlap

_OVERLAP = 0.3
"""The temporal IoU from which a segment is that of an annotation, or of a surer prediction."""


def found(judgement: Judgement, one: Judged) -> Iterator[Suspicion]:
    """Each segment that no annotation of any class overlaps, the surest first, once.

    Confidence x min(1, 2 x the share of annotations whose own prediction is less sure): all of its confidence where it
    scores above most of them. Segments that score above less than a quarter of them are left out, and so are those in
    an interval that is annotated as ambiguous, or outside the annotated time of the video.
    """
    kept: list[Suspicion] = []
    for row, prediction, confidence in zip(one.overlaps, one.found, one.confidences, strict=True):
        share = judgement.share_below(confidence)
        is_ambiguous = any(
            min(prediction.end_s, end) - max(prediction.start_s, start) > 0 for start, end in one.video.ambiguous
        )
        is_outside = is_mostly_outside(one.video.annotated, prediction.start_s, prediction.end_s)
        is_known = row.max(initial=0.0) >= _OVERLAP or is_ambiguous or is_outside
        if (
            share < 1 / 2
            or is_known
            or any(overlap(prediction, it.suggested) >= _OVERLAP for it in kept if it.suggested)
        ):
            continue
        sentence = (
            f"The run finds {prediction.label} at {prediction.start_s:.2f}-{prediction.end_s:.2f} s, "
            f"{100 * confidence:.0f} % sure, more than of {100 * share:.0f} % of the annotations; nothing is annotated"
        )
        own = as_action(prediction)
        kept.append(Suspicion("unlabelled", one.video.id, None, confidence * min(1.0, 2.0 * share), own, sentence))
    yield from kept
