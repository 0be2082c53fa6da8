from collections.abc import Callable

import pytest

from actloc.evaluation.matching import judge, worst_first
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Results, TrueAction, Video


def action(start_s: float, end_s: float, label: str = "a") -> TrueAction:
    return TrueAction(label=label, start_s=start_s, end_s=end_s)


def test_each_true_action_is_found_once_by_the_best_score() -> None:
    claims = [Prediction("a", 0.6, 0, 10), Prediction("a", 0.9, 0, 9), Prediction("a", 0.1, 0, 10)]
    judgement = judge([action(0, 10)], claims, {"a": 0.5})
    assert judgement.verdicts == ["wrong", "right", "below"]
    assert judgement.found == [True]
    assert judgement.f1 == pytest.approx(2 / 3)


def test_the_wrong_class_and_too_little_overlap_are_wrong() -> None:
    claims = [Prediction("b", 0.9, 0, 10), Prediction("a", 0.9, 0, 4)]
    judgement = judge([action(0, 10)], claims, {"a": 0.5, "b": 0.5})
    assert judgement.verdicts == ["wrong", "wrong"]
    assert (judgement.num_found, judgement.num_missed, judgement.num_wrong) == (0, 1, 2)


@pytest.mark.parametrize("thresholds", [{}, {"a": None}])
def test_without_a_threshold_no_prediction_of_the_class_counts(thresholds: dict[str, float | None]) -> None:
    assert judge([action(0, 1)], [Prediction("a", 0.9, 0, 1)], thresholds).verdicts == ["below"]


def test_worst_first_ends_with_videos_that_have_nothing_to_score(
    make_results: Callable[..., Results], predictions: Predictions
) -> None:
    videos = [
        Video(id="nothing", duration_s=9.0),
        Video(id="good", duration_s=9.0, truth=[action(0, 4)]),
        Video(id="few missed", duration_s=9.0, truth=[action(0, 4)]),
        Video(id="many missed", duration_s=9.0, truth=[action(0, 4), action(5, 9)]),
    ]
    values = {"classes": ["a"], "class_ap": [[0.5, 0.5]], "truth_per_class": [4], "videos": videos}
    results = make_results(**values, thresholds=[{"score": 0.5, "f1": 0.5}])
    order = worst_first(results, {"good": [Prediction("a", 0.9, 0, 4)]})
    assert [item.video.id for item in order] == ["many missed", "few missed", "good", "nothing"]
