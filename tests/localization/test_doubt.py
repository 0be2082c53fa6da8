"""What a run expects in a window and is unsure of, in cases worked out by hand, and how it is said."""

from collections import Counter

import numpy as np
import pytest

from actloc.evaluation.predictions import Prediction
from actloc.localization.suggesting.choosing import Choice
from actloc.localization.suggesting.doubt import Doubt, curves, doubt, expected, likelihood
from actloc.localization.suggesting.looking import Learned, Looked
from actloc.localization.suggesting.suggestion import reason, suggested

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


def test_segments_are_expected_by_their_likelihood_and_the_share_inside() -> None:
    found = [
        Prediction("jump", 0.75, 5.0, 15.0),  # half inside, as likely as 0.9
        Prediction("jump", 0.5, 12.0, 14.0),
        Prediction("run", 0.9, 0.0, 10.0),  # ends where the window begins
        Prediction("run", 0.9, 12.0, 12.0),
    ]
    assert expected(found, THRESHOLDS, WINDOW) == pytest.approx({"jump": 0.45 + 0.5, "run": 0.0})
    assert expected([], THRESHOLDS, WINDOW) == {"jump": 0.0, "run": 0.0}


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
    few = "jump, 3 labelled (1.2 expected here)"
    high = Choice(0, 0.7, 0.8, 0.6, 0.7, 90.0, 0.9, 0.4, scarcest=0, expected_before=0.0)
    assert reason(high, doubts, few) == (
        "unsure: jump at 1.0-2.0 s (0.5, threshold 0.5); "
        "few labels: jump, 3 labelled (1.2 expected here); "
        "typical: 1.5 unlabelled minutes are nearer to it than to annotated and earlier windows"
    )
    low = Choice(0, 0.1, 0.1, 0.1, 0.0, 6.0, 0.9, 0.9, scarcest=None, expected_before=0.0)
    assert reason(low, Doubt(0.001, 0.0, "something", ""), "") == (
        "no reason is strong; the strongest: "
        "typical: 0.1 unlabelled minutes are nearer to it than to annotated and earlier windows"
    )


def looked_at(*found: Prediction) -> Looked:
    """A video of two windows of 10 s."""
    both = {"a": list(found)}
    looked = Looked(THRESHOLDS, ("averaged", "raw"), found=both, others=both)
    looked.add("a", [(0.0, 10.0), (10.0, 20.0)], [np.zeros(2), np.zeros(2)])
    return looked


def test_a_class_with_few_labels_is_a_reason() -> None:
    looked = looked_at(Prediction("jump", 0.75, 2.0, 3.0), Prediction("run", 0.999, 11.0, 12.0))
    learned = Learned([np.zeros(2)], ["b"], Counter(run=1, jump=2, other=5))
    reasons = {one.window: one.reason for one in suggested(looked, learned, 60.0)}
    assert "few labels: run, 1 labelled (1.0 expected here)" in reasons[10.0, 20.0]
    assert "few labels: jump, 2 labelled (0.9 expected here)" in reasons[0.0, 10.0]
    again = looked_at(Prediction("run", 0.999, 2.0, 3.0), Prediction("run", 0.999, 11.0, 12.0))
    _, second = suggested(again, learned, 60.0)
    assert "few labels: run, 1 labelled (1.0 expected here, 1.0 in earlier windows)" in second.reason


def test_nothing_labelled_and_nothing_expected() -> None:
    for one in suggested(looked_at(), Learned(), 60.0):
        assert "few labels" not in one.reason
    unlikely = looked_at(Prediction("jump", 0.01, 2.0, 3.0))
    assert not any(one.few for one in suggested(unlikely, Learned(), 60.0))
    learned = Learned(actions=Counter(run=9))
    first, _ = suggested(looked_at(Prediction("jump", 0.75, 12.0, 13.0)), learned, 60.0)
    assert "few labels: jump, 0 labelled (0.9 expected here)" in first.reason
