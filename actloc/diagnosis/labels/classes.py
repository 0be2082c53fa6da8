"""Annotations where the run is sure of another class."""

from actloc.diagnosis.labels.suspicion import MATCH, Judged, Suspicion, as_action


def found(one: Judged, number: int) -> Suspicion | None:
    """How suspicious the class of annotation `number` is; None without a prediction of another class that matches it.

    r x (1 - own): `own` is the confidence of the surest prediction of the annotated class that matches it (temporal IoU
    of 0.5 or more), and r that of the surest one of another class. An action that is annotated with both classes, as
    some datasets do, has no wrong class: such predictions are not counted.
    """
    action, actions = one.video.actions[number], one.video.actions
    own, others = 0.0, []
    for index, (row, confidence) in enumerate(zip(one.overlaps, one.confidences, strict=True)):
        prediction = one.found[index]
        if row[number] < MATCH:
            continue
        if prediction.label == action.label:
            own = max(own, confidence)
        elif not any(row[other] >= MATCH and its.label == prediction.label for other, its in enumerate(actions)):
            others.append((confidence, -index))
    if not others:
        return None
    confidence, index = max(others)
    best = one.found[-index]
    sentence = (
        f"The run finds {best.label} at {best.start_s:.2f}-{best.end_s:.2f} s, {100 * confidence:.0f} % sure; it is "
        f"annotated as {action.label}, of which the run is {100 * own:.0f} % sure"
    )
    return Suspicion("class", one.video.id, action, confidence * (1.0 - own), as_action(best), sentence)
