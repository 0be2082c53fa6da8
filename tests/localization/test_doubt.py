"""What a run is unsure of in a window, in cases worked out by hand."""

import pytest

from actloc.evaluation.predictions import Prediction
from actloc.localization.suggesting.choosing import Choice
from actloc.localization.suggesting.doubt import Doubt, curves, doubt, likelihood
from actloc.localization.suggesting.suggestion import reason

THRESHOLDS = {"jump": 0.5, "run": 0.2}
WINDOW = (10.0, 20.0)


def test_a_score_at_its_threshold_is_as_likely_as_not() -> None:
    assert likelihood(0.2, 0.2) == pytest.approx(0.5)
    assert likelihood(0.75, 0.5) == pytest.approx(0.9)  # odds of 3, squared
    assert likelihood(0.25, 0.5) == pytest.approx(0.1)
    assert likelihood(0.0, 0.5) < 1e-6 < 1 - 1e-6 < likelihood(1.0, 0.5)
    assert 0 < likelihood(0.0, 0.0) < 1


def test_the_likeliest_segment_counts_at_each_moment() -> None:
    found = [Prediction("jump", 0.5, 5.0, 15.0), Prediction("jump", 0.75, 12.0, 14.0), Prediction("run", 0.9, 0, 9.9)]
    listed = curves(found, THRESHOLDS, WINDOW)
    assert list(listed) == ["jump"]
    assert listed["jump"][[0, 25, 60]] == pytest.approx([0.5, 0.9, 0.0])


def test_time_at_the_threshold_is_uncertain_and_sure_segments_are_not() -> None:
    near = [Prediction("jump", 0.5, 10.0, 15.0)]
    own = doubt(near, near, THRESHOLDS, WINDOW)
    assert own.uncertainty == pytest.approx(0.5)
    assert own.disagreement == 0
    assert own.unsure_of == "jump at 10.0-15.0 s (0.5, threshold 0.5)"
    assert not own.differs_in
    sure = [Prediction("run", 0.99, 10.0, 20.0)]
    assert doubt(sure, sure, THRESHOLDS, WINDOW).uncertainty < 0.01
    assert doubt([], [], THRESHOLDS, WINDOW) == Doubt(0.0, 0.0)


def test_two_classes_that_are_both_likely_are_uncertain() -> None:
    both = [Prediction("run", 0.99, 10.0, 20.0), Prediction("jump", 0.99, 10.0, 15.0)]
    own = doubt(both, both, THRESHOLDS, WINDOW)
    assert own.uncertainty == pytest.approx(0.5, abs=0.01)
    assert own.unsure_of == "run or jump at 10.1 s"


def test_weights_disagree_where_only_one_finds_an_action() -> None:
    own = doubt([Prediction("jump", 0.75, 10.0, 12.0)], [], THRESHOLDS, WINDOW, ("raw", "averaged"))
    assert own.disagreement == pytest.approx(0.9 * 0.2)
    assert own.differs_in == "jump at 10.1 s (raw 0.75, averaged 0)"
    moved = doubt([Prediction("jump", 0.75, 10, 12)], [Prediction("run", 0.2, 10, 12)], THRESHOLDS, WINDOW)
    assert moved.disagreement == pytest.approx(0.9 * 0.2)  # the largest difference of a class, not their sum


def test_reasons_are_what_is_high_the_strongest_first() -> None:
    doubts = Doubt(0.3, 0.2, "jump at 1.0-2.0 s (0.5, threshold 0.5)", "run at 1.0 s (averaged 0.1, raw 0.9)")
    high = Choice(0, 0.7, 0.8, 0.6, 90.0, uncertainty_rank=0.9, disagreement_rank=0.4)
    assert reason(high, doubts) == (
        "unsure: jump at 1.0-2.0 s (0.5, threshold 0.5); "
        "typical: 1.5 unlabelled minutes are nearer to it than to annotated and earlier windows"
    )
    low = Choice(0, 0.1, 0.1, 0.1, 6.0, uncertainty_rank=0.9, disagreement_rank=0.9)
    assert reason(low, Doubt(0.001, 0.0, "something", "")) == (
        "no reason is strong; the strongest: "
        "typical: 0.1 unlabelled minutes are nearer to it than to annotated and earlier windows"
    )
