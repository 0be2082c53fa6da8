"""Annotations where the run sees nothing."""

import numpy as np

from actloc.diagnosis.labels.suspicion import NEAR, Judged, Judgement, Suspicion

_USUALLY_WRONG = 0.05
"""The share of labels that is taken to be wrong before anything is known."""


def found(judgement: Judgement, one: Judged, number: int) -> Suspicion:
    """How suspicious it is that no prediction of any class is near annotation `number`.

    (1 - support) x 0.05 / (0.05 + p): the support is the confidence of the surest prediction with a temporal IoU of 0.1
    or more, and p the share of annotations with no more than it. By Bayes' rule, if 5 % of all labels were wrong and a
    wrong one had no support: a run that misses a fifth of what it judges, as short actions, suspects little of it.
    """
    action = one.video.actions[number]
    support = float(np.array(one.confidences)[one.overlaps[:, number] >= NEAR].max(initial=0.0))
    value = (1.0 - support) * _USUALLY_WRONG / (_USUALLY_WRONG + judgement.share_up_to(support))
    sure = f"nothing near it is surer than {100 * support:.0f} %" if support else "it finds nothing near it"
    sentence = f"The run misses {action.label} at {action.start_s:.2f}-{action.end_s:.2f} s: {sure}"
    return Suspicion("missed", one.video.id, action, value, None, sentence)
