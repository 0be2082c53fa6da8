from actloc.annotations import Action, AnnotatedVideo, Annotations
from actloc.evaluation.detection import average_precision
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from actloc.reports.results import Prediction, Predictions
from actloc.tasks.scoring import to_rows, truth_of

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
    truth, rows = to_rows(truth_of(ANNOTATIONS, "test", protocol), predictions, protocol)
    return [round(float(value), 6) for value in average_precision(truth, rows, [0.5], protocol)[0]]


def test_the_protocol_decides_which_truth_counts_and_what_ambiguous_stretches_do() -> None:
    assert average_of(PROTOCOLS["actionformer"]) == [0.0, round(1 / 3, 6)]
    assert average_of(PROTOCOLS["activitynet"]) == [0.0, round(1 / 9, 6)]
    assert average_of(PROTOCOLS["thumos"]) == [0.0, round(1 / 6, 6)]


def test_predictions_of_videos_outside_the_subset_are_false() -> None:
    without = {"a": FOUND["a"]}
    assert average_of(PROTOCOLS["actionformer"], without) == [0.0, 0.5]


def test_the_order_of_a_file_decides_ties_only_where_the_protocol_says_so() -> None:
    rows = [Prediction("run", 0.5, 0, 10), Prediction("run", 0.5, 60, 70)]
    for name, is_decided in (("actionformer", False), ("activitynet", False), ("thumos", True)):
        forward, backward = (average_of(PROTOCOLS[name], {"a": listed}) for listed in (rows, rows[::-1]))
        assert (forward != backward) == is_decided, name
