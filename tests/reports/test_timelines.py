import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc.evaluation.matching import Judged, judge
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import TrueAction, Video
from actloc.reports.timelines import (
    MOST_BELOW,
    MOST_COUNTED,
    Looks,
    Shade,
    Timeline,
    judged_timeline,
    looks_of,
    predicted_timeline,
)

LOOKS = Looks({"a": 0, "b": 1}, 1.0)


def timeline(
    truth: list[TrueAction], predictions: list[Prediction], threshold: float = 0.5, duration_s: float = 100.0
) -> Timeline:
    video = Video(id="v", duration_s=duration_s, truth=truth)
    thresholds = {"a": threshold, "b": threshold}
    return judged_timeline(Judged(video, predictions, judge(truth, predictions, thresholds)), LOOKS)


def test_true_actions_are_above_the_predictions_of_their_class() -> None:
    truth = [TrueAction(label="a", start_s=10, end_s=20)]
    drawn = timeline(truth, [Prediction("a", 0.8, 10, 20), Prediction("b", 0.9, 0, 50)])
    assert [row.label for row in drawn.rows] == ["a", "b"]
    assert [track.side for track in drawn.rows[0].tracks] == ["truth", "predicted"]
    assert [row.note for row in drawn.rows] == ["1 of 1 found", "no true actions, 1 wrong"]
    bar = drawn.rows[0].tracks[1].bars[0]
    assert (bar.left, bar.width, bar.claim.kind, bar.text) == (10.0, 10.0, "right", "0.80")


def test_overlapping_segments_get_lanes_and_the_best_score_is_on_top() -> None:
    drawn = timeline([], [Prediction("a", 0.6, 5, 15), Prediction("a", 0.9, 0, 10), Prediction("a", 0.7, 15, 20)])
    (track,) = (track for track in drawn.rows[0].tracks if track.side == "predicted")
    assert track.num_lanes == 2
    assert {bar.claim.score: bar.lane for bar in track.bars} == {0.9: 0, 0.7: 0, 0.6: 1}


segments = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 50), st.floats(0, 1)), max_size=30)


@given(segments)
def test_bars_of_a_lane_never_overlap_and_stay_on_the_axis(listed: list[tuple[float, float, float]]) -> None:
    predictions = [Prediction("a", score, start, start + length) for start, length, score in listed]
    drawn = timeline([], predictions, threshold=0.0)
    for row in drawn.rows:
        for track in row.tracks:
            assert all(0 <= bar.left <= bar.left + bar.width <= 100 + 1e-9 for bar in track.bars)
            for lane in range(track.num_lanes):
                bars = sorted((bar for bar in track.bars if bar.lane == lane), key=lambda bar: bar.left)
                for one, other in itertools.pairwise(bars):
                    assert one.left + one.width <= other.left + 1e-9


def test_predictions_that_are_not_drawn_are_counted() -> None:
    predictions = [Prediction("a", i / 100, i, i + 1) for i in range(100)]
    drawn = timeline([], predictions, threshold=0.6)
    assert (drawn.num_counted, drawn.num_counted_shown) == (40, MOST_COUNTED)
    assert (drawn.num_below, drawn.num_below_shown) == (60, MOST_BELOW)
    scores = [claim.score for claim in drawn.claims if claim.score is not None]
    assert max(scores) == 0.99
    assert sum(score < 0.6 for score in scores) == MOST_BELOW


def test_as_many_predictions_are_drawn_as_there_are_true_actions() -> None:
    truth = [TrueAction(label="a", start_s=i, end_s=i + 1) for i in range(50)]
    predictions = [Prediction("a", 0.9, i, i + 1) for i in range(80)]
    assert timeline(truth, predictions).num_counted_shown == 50


def test_a_video_without_a_counted_prediction_shows_its_best_others() -> None:
    drawn = timeline([], [Prediction("a", 0.1, 0, 1), Prediction("b", 0.2, 0, 1)])
    assert drawn.num_below_shown == 2


def test_the_axis_reaches_true_actions_after_the_end_and_has_at_most_eight_steps() -> None:
    drawn = timeline([TrueAction(label="a", start_s=90, end_s=125)], [], duration_s=100.0)
    assert drawn.rows[0].tracks[0].bars[0].left == pytest.approx(72)
    assert [tick.text for tick in drawn.ticks] == ["0", "20", "40", "60", "80", "100", "120"]


@given(st.floats(1e-3, 1e9))
def test_every_axis_has_two_to_nine_ticks_from_zero(duration_s: float) -> None:
    ticks = timeline([], [], duration_s=duration_s).ticks
    assert 2 <= len(ticks) <= 9
    assert ticks[0].left == 0
    assert ticks[-1].left <= 100 + 1e-9


@pytest.mark.parametrize("predictions", [[], [Prediction("a", 0.9, -5, 3)], [Prediction("a", 0.9, 3, 3)]])
def test_a_video_of_unknown_length_is_drawn(predictions: list[Prediction]) -> None:
    assert timeline([], predictions, duration_s=0.0).ticks


def test_without_ground_truth_there_is_one_track_per_class_and_no_judgement() -> None:
    video = Video(id="v", duration_s=10.0)
    drawn = predicted_timeline(video, [Prediction("a", 0.1, 1, 2), Prediction("b", 0.9, 1, 2)], None, LOOKS)
    assert drawn.judgement is None
    assert [len(row.tracks) for row in drawn.rows] == [1, 1]
    assert {claim.kind for claim in drawn.claims} == {"unjudged"}
    some = predicted_timeline(video, [Prediction("a", 0.1, 1, 2), Prediction("a", 0.9, 1, 2)], {"a": 0.5}, LOOKS)
    assert some.rows[0].note == "1 of 2 above the threshold"


def test_text_that_does_not_fit_is_in_the_table_only() -> None:
    narrow = [Prediction("a", 0.9, i * 0.2, i * 0.2 + 0.1) for i in range(10)]
    drawn = timeline([], narrow, threshold=0.1)
    rooms = [bar.room_px for bar in drawn.rows[0].tracks[1].bars]
    assert rooms.count(None) == 9
    assert len(drawn.claims) == 10


def test_the_best_score_of_the_page_has_full_colour() -> None:
    looks = looks_of(["a"], {"v": [Prediction("a", 0.2, 0, 1), Prediction("a", 0.1, 2, 3)]})
    drawn = predicted_timeline(
        Video(id="v", duration_s=9.0), [Prediction("a", 0.2, 0, 1), Prediction("a", -1.0, 2, 3)], None, looks
    )
    assert [bar.opacity for bar in drawn.rows[0].tracks[0].bars] == [1.0, 0.25]


def test_classes_of_a_new_video_are_in_the_order_of_their_first_counted_segment() -> None:
    found = [
        Prediction("late", 0.9, 50, 60),
        Prediction("early", 0.6, 10, 20),
        Prediction("late", 0.2, 0, 5),
    ]
    drawn = predicted_timeline(Video(id="v", duration_s=100.0), found, {"late": 0.5, "early": 0.5}, LOOKS)
    assert [row.label for row in drawn.rows] == ["early", "late"]
    assert [claim.kind for claim in drawn.claims] == ["below", "unjudged", "unjudged"]


def test_time_that_is_not_annotated_is_shaded() -> None:
    video = Video(id="v", duration_s=50.0, annotated=[[0, 10], [20, 30]])
    assert predicted_timeline(video, [], None, LOOKS).shades == [Shade(20, 20), Shade(60, 40)]
    assert predicted_timeline(Video(id="v", duration_s=50.0), [], None, LOOKS).shades == []
    whole = Video(id="v", duration_s=50.0, annotated=[[0, 50]])
    assert predicted_timeline(whole, [], None, LOOKS).shades == []
