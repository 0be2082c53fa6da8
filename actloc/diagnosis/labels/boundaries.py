"""Annotations whose start or end is far from that of a sure prediction."""

from actloc.diagnosis.labels.suspicion import NEAR, Judged, Judgement, Suspicion, as_action, deviation, overlap


def found(judgement: Judgement, one: Judged, number: int) -> Suspicion | None:
    """How suspicious the boundaries of annotation `number` are; None without a prediction of its class near it.

    Confidence x (1 - 2^(-d / usual)) for the prediction with the highest product of confidence and temporal IoU: d is
    the distance of the boundary that is further away, as a share of the annotation's length, and `usual` the median of
    it over all annotations that the run matches. A usual distance counts a half, one of five times as much 0.97.
    A prediction that another annotation of the class overlaps more belongs to that one.
    """
    action, actions = one.video.actions[number], one.video.actions
    near = [
        (confidence * float(row[number]), confidence, index)
        for index, (row, confidence) in enumerate(zip(one.overlaps, one.confidences, strict=True))
        if row[number] >= NEAR
        and one.found[index].label == action.label
        and all(row[number] >= row[other] for other, its in enumerate(actions) if its.label == action.label)
    ]
    if not near:
        return None
    _, confidence, index = max(near)
    best = one.found[index]
    value = confidence * (1.0 - 2.0 ** (-deviation(best, action) / judgement.usual_deviation))
    sentence = (
        f"The run finds {action.label} at {best.start_s:.2f}-{best.end_s:.2f} s, {100 * confidence:.0f} % sure; "
        f"it is annotated at {action.start_s:.2f}-{action.end_s:.2f} s (tIoU {overlap(best, action):.2f})"
    )
    return Suspicion("boundary", one.video.id, action, value, as_action(best), sentence)
