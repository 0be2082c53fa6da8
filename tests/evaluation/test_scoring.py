from typing import Any

import numpy as np
import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation.detection import average_precision
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from actloc.evaluation.scoring import to_columns, truth_of
from tests.evaluation.test_detection import FACTS, official

TWICE = (Action(0, 10, "run"), Action(0, 10, "run"), Action(20, 20, "run"))
VIDEOS = {
    "a": AnnotatedVideo("a", "test", TWICE, ambiguous=((30.0, 50.0),)),
    "c": AnnotatedVideo("c", "test", (Action(0, 5, "jump"),)),
}
ANNOTATIONS = Annotations(("jump", "run"), VIDEOS)
FOUND: Predictions = {
    "a": [Prediction("run", 0.9, 32, 40), Prediction("run", 0.8, 0, 10), Prediction("fly", 0.9, 0, 10)],
    "b": [Prediction("run", 0.95, 0, 10)],
}


def average_of(protocol: Protocol, predictions: Predictions = FOUND) -> list[float]:
    truth, columns = to_columns(truth_of(ANNOTATIONS, "test", protocol), predictions, protocol)
    return [round(float(value), 6) for value in average_precision(truth, columns, [0.5], protocol)[0]]


def test_the_protocol_decides_which_true_actions_count_and_what_ambiguous_intervals_do() -> None:
    assert average_of(PROTOCOLS["actionformer"]) == [0.0, round(1 / 3, 6)]
    assert average_of(PROTOCOLS["activitynet"]) == [0.0, round(1 / 9, 6)]
    assert average_of(PROTOCOLS["thumos"]) == [0.0, round(1 / 6, 6)]


def test_predictions_for_videos_outside_the_subset_are_wrong() -> None:
    without = {"a": FOUND["a"]}
    assert average_of(PROTOCOLS["actionformer"], without) == [0.0, 0.5]


def test_the_order_of_a_file_decides_ties_only_where_the_protocol_says_so() -> None:
    rows = [Prediction("run", 0.5, 0, 10), Prediction("run", 0.5, 60, 70)]
    for name, is_decided in (("actionformer", False), ("activitynet", False), ("thumos", True)):
        forward, backward = (average_of(PROTOCOLS[name], {"a": listed}) for listed in (rows, rows[::-1]))
        assert (forward != backward) == is_decided, name


# the fixture orders equal scores by its rows, we order them by sorted rows
@pytest.mark.parametrize("name", [name for name in FACTS if not FACTS[name]["tie_sensitive"]])
def test_official_numbers_are_reproduced_from_annotations_and_names_too(name: str) -> None:
    facts, arrays, _, _ = official(name)
    annotations, found = named(facts, arrays)
    protocol = PROTOCOLS["actionformer"]
    truth, predicted = to_columns(truth_of(annotations, facts["split"], protocol), found, protocol)
    ap = average_precision(truth, predicted, facts["tiou"], protocol)
    np.testing.assert_allclose(ap, arrays["ap_stable"], atol=1e-12, rtol=0)


def named(facts: dict[str, Any], arrays: dict[str, Any]) -> tuple[Annotations, Predictions]:
    """A recorded case as annotations and predictions."""
    videos, labels = {}, set()
    for video_id, entry in facts["database"].items():
        actions = tuple(Action(*item["segment"], f"{item['label_id']:03d}") for item in entry["annotations"])
        videos[video_id] = AnnotatedVideo(video_id, entry["subset"], actions)
        labels |= {action.label for action in actions}
    found: Predictions = {}
    columns = (arrays[f"pred_{name}"].tolist() for name in ("label", "score", "t-start", "t-end"))
    for video, label, score, start, end in zip(arrays["pred_video"], *columns, strict=True):
        found.setdefault(facts["pred_videos"][video], []).append(Prediction(f"{label:03d}", score, start, end))
    return Annotations(tuple(sorted(labels)), videos), found
