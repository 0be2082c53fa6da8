"""Joins detections with the class scores of their whole video (ActionFormer, `libs/utils/postprocessing.py`)."""

import numpy as np

from actloc.evaluation.columns import Floats, Integers
from actloc.settings.choices import FusionRule


def fuse(
    detection_scores: Floats, class_scores: Floats, rule: FusionRule, top_k: int, most: int
) -> tuple[Integers, Integers, Floats]:
    """Rows, class numbers and scores of the fused detections of one video: all with the best class, then the next.

    The `most` best detections stay, each once for every one of the `top_k` best classes. Of equal scores the later
    goes first, as in the evaluator.
    """
    rows = _best(detection_scores, most)
    labels = _best(class_scores, top_k)
    joint = class_scores[labels][:, None] * detection_scores[rows].astype(np.float64)[None]
    scores = np.sqrt(joint) if rule == "sqrt" else joint
    return np.tile(rows, len(labels)), np.repeat(labels, len(rows)), scores.ravel()


def _best(scores: Floats, most: int) -> Integers:
    return np.argsort(scores, kind="stable")[::-1][:most]
