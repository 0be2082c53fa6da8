"""Annotations where the run sees nothing."""

import numpy as np

from actloc.diagnosis.labels.suspicion import NEAR, Judged, Judgement, Suspicion


def found(judgement: Judgement, one: Judged, number: int) -> Suspicion:
    """How suspicious it is that no prediction of any class is near annotation `number`.

    (1 - support) x (the share of annotations with a higher support): the support is the confidence of the surest
    prediction with a temporal IoU of 0.1 or more. Near 1 only if this annotation has none, and nearly all others do; a
    run that misses half of what it judges suspects none of them by more than a half.
    """
    action = one.video.actions[number]
    support = float(np.array(one.confidences)[one.overlaps[:, number] >= NEAR].max(initial=0.0))
    value = (1.0 - support) * judgement.share_above(support)
    sure = f"nothing near it is surer than {100 * support:.0f} %" if support else "it finds nothing near it"
    sentence = f"The run misses {action.label} at {action.start_s:.2f}-{action.end_s:.2f} s: {sure}"
    return Suspicion("missed", one.video.id, action, value, None, sentence)
