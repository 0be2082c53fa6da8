"""Curves, thresholds, calibration and confusion against plain definitions, prediction by prediction."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actloc.evaluation import operating_points as operating
from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.confusion import confusion
from actloc.evaluation.detection import average_precision, best_f1_thresholds
from actloc.evaluation.pairing import Pairing
from actloc.evaluation.precision_recall import binned, mean_curve, precisions, thinned
from actloc.evaluation.protocols import PROTOCOLS
from tests.evaluation.test_detection import predictions_of, truth_of

TIMES = st.integers(0, 12)
SCORES = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 1.0])
"""Few, so that there are many ties."""
SEGMENTS = st.tuples(TIMES, st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
TRUTHS = st.lists(st.tuples(st.integers(0, 2), SEGMENTS, st.integers(0, 2)), min_size=1, max_size=8)
PREDICTIONS = st.lists(st.tuples(st.integers(0, 3), SEGMENTS, st.integers(0, 2), SCORES), max_size=25)


def columns(truths: list[Any], predicted: list[Any]) -> tuple[TruthColumns, PredictionColumns]:
    truth = truth_of([(video, *segment, label) for video, segment, label in truths])
    return truth, predictions_of([(video, *segment, label, score) for video, segment, label, score in predicted])


@pytest.mark.parametrize("name", PROTOCOLS)
@given(truths=TRUTHS, predicted=PREDICTIONS)
@settings(deadline=None, max_examples=60)
def test_the_area_under_a_curve_is_the_average_precision(name: Any, truths: list[Any], predicted: list[Any]) -> None:
    truth, predictions = columns(truths, predicted)
    protocol = PROTOCOLS[name]
    pairing = Pairing(truth, predictions, 0.5, protocol)
    for tiou in (0.5, 0.7):
        ap = average_precision(truth, predictions, [tiou], protocol)[0]
        curves = precisions(pairing, tiou)
        np.testing.assert_allclose([curve.mean() for curve in curves], ap, atol=1e-12)
        np.testing.assert_allclose([binned(curve, 7).mean() for curve in curves], ap, atol=1e-12)
        assert mean_curve(curves).mean() == pytest.approx(ap.mean(), abs=1e-12)


@pytest.mark.parametrize(("name", "is_interpolated"), [("actionformer", True), ("thumos_without_ambiguous", False)])
def test_a_curve_is_the_precision_at_each_hit(name: Any, is_interpolated: bool) -> None:
    truth = truth_of([(0, start, start + 4, 0) for start in (0, 10, 20, 30)])
    rows = [(0, 50, 54, 0, 0.9), (0, 0, 4, 0, 0.8), (0, 10, 14, 0, 0.7), (0, 60, 64, 0, 0.6), (0, 20, 24, 0, 0.5)]
    (curve,) = precisions(Pairing(truth, predictions_of(rows), 0.5, PROTOCOLS[name]), 0.5)
    at_hits = [1 / 2, 2 / 3, 3 / 5]
    expected = [max(at_hits[place:]) for place in range(3)] if is_interpolated else at_hits
    assert curve.tolist() == pytest.approx([*expected, 0])


def test_a_long_curve_is_thinned_and_a_short_one_is_not() -> None:
    curve = np.linspace(1, 0, 1000)
    assert len(thinned(curve)) == 100
    assert thinned(curve).mean() == pytest.approx(curve.mean(), abs=1e-12)
    assert thinned(curve)[0] == pytest.approx(curve[:10].mean())
    assert (thinned(curve[:100]) == curve[:100]).all()


def plainly_right(truth: TruthColumns, predictions: PredictionColumns, kept: list[int], tiou: float) -> dict[int, int]:
    """By prediction, the true action that it takes: best score first, the unmatched one that it overlaps most."""
    taken: dict[int, int] = {}
    for place in kept:
        best = (tiou, -1)
        for row in range(len(truth)):
            if truth.labels[row] == predictions.labels[place] and row not in taken.values():
                overlap = overlap_of(truth, row, predictions, place)
                if overlap >= best[0]:
                    best = (overlap, row)
        if best[1] >= 0:
            taken[place] = best[1]
    return taken


def overlap_of(truth: TruthColumns, row: int, predictions: PredictionColumns, place: int) -> float:
    if truth.videos[row] != predictions.videos[place]:
        return 0.0
    start = max(truth.starts_s[row], predictions.starts_s[place])
    end = min(truth.ends_s[row], predictions.ends_s[place])
    length = truth.ends_s[row] - truth.starts_s[row] + predictions.ends_s[place] - predictions.starts_s[place]
    shared = max(0.0, end - start)
    return float(shared / (length - shared))


@given(truths=TRUTHS, predicted=PREDICTIONS, threshold=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 1.0, 1.1]))
@settings(deadline=None, max_examples=150)
def test_a_threshold_counts_what_scoring_only_the_predictions_above_it_counts(
    truths: list[Any], predicted: list[Any], threshold: float
) -> None:
    truth, predictions = columns(truths, predicted)
    judged = operating.pooled(Pairing(truth, predictions, 0.5, PROTOCOLS["qvhighlights"]).judged(0.5))
    known = [place for place in range(len(predictions)) if predictions.labels[place] in truth.labels]
    order = sorted(known, key=lambda place: -predictions.scores[place])
    kept = [place for place in order if predictions.scores[place] >= threshold]
    (point,) = operating.points(judged, [threshold], len(truth))
    right = len(plainly_right(truth, predictions, kept, 0.5))
    assert (point.kept, point.right) == (len(kept), right)
    assert point.precision == (right / len(kept) if kept else None)
    assert point.recall == right / len(truth)
    assert point.f1 == pytest.approx(2 * right / (len(kept) + len(truth)))


@given(truths=TRUTHS, predicted=PREDICTIONS)
@settings(deadline=None, max_examples=100)
def test_best_f1_is_the_f1_of_its_threshold(truths: list[Any], predicted: list[Any]) -> None:
    truth, predictions = columns(truths, predicted)
    pairing = Pairing(truth, predictions, 0.5, PROTOCOLS["actionformer"])
    best = best_f1_thresholds(truth, predictions)
    for label, number, judged in zip(truth.classes, pairing.truth_counts, pairing.judged(0.5), strict=True):
        if int(label) in best:
            threshold, f1 = best[int(label)]
            (point,) = operating.points(judged, [threshold], int(number))
            assert point.f1 == pytest.approx(f1)
            every = operating.points(judged, [0.0, *map(float, judged[1])], int(number))
            assert max(one.f1 for one in every) == pytest.approx(f1)


@given(
    pairs=st.lists(st.tuples(st.booleans(), SCORES | st.floats(0, 1)), max_size=60),
    num_bins=st.sampled_from([2, 5, 10]),
)
@settings(deadline=None, max_examples=150)
def test_bins_have_equal_counts_but_for_equal_scores(pairs: list[tuple[bool, float]], num_bins: int) -> None:
    is_hit, scores = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
    judged = operating.pooled([(is_hit.astype(bool), scores.astype(float))])
    bins = operating.reliability(judged, num_bins)
    assert sum(one.count for one in bins) == len(pairs)
    assert sum(one.right for one in bins) == sum(hit for hit, _ in pairs)
    assert all(one.highest < other.lowest for one, other in pairwise(bins))
    if len({score for _, score in pairs}) == len(pairs) >= num_bins:
        assert {one.count for one in bins} <= {len(pairs) // num_bins, len(pairs) // num_bins + 1}
        assert len(bins) == num_bins
    error = operating.calibration_error(bins)
    if not pairs:
        assert error is None
        return
    expected = 0.0
    for one in bins:
        members = [pair for pair in pairs if one.lowest <= pair[1] <= one.highest]
        assert len(members) == one.count
        mean_score = sum(score for _, score in members) / len(members)
        expected += abs(mean_score - sum(hit for hit, _ in members) / len(members)) * len(members) / len(pairs)
    assert error == pytest.approx(expected)


def test_scores_outside_0_to_1_have_no_calibration_error() -> None:
    judged = (np.array([True, False]), np.array([3.5, -1.0]))
    assert operating.calibration_error(operating.reliability(judged)) is None
    assert operating.score_range(judged[1]) == (-1.0, 5.0)
    assert operating.score_range(np.array([0.9, 0.1])) == (0.0, 1.0)
    assert operating.score_range(np.array([0.03])) == pytest.approx((0.0, 0.05))
    assert operating.score_range(np.zeros(3)) == (0.0, 1.0)


@given(
    truths=TRUTHS, predicted=PREDICTIONS, lowest=st.lists(st.sampled_from([0.2, 0.5, np.nan]), min_size=3, max_size=3)
)
@settings(deadline=None, max_examples=200)
def test_confusion_equals_its_definition(truths: list[Any], predicted: list[Any], lowest: list[float]) -> None:
    truth, predictions = columns(truths, predicted)
    found = confusion(truth, predictions, np.array(lowest))
    order = sorted(range(len(predictions)), key=lambda place: -predictions.scores[place])
    kept = [place for place in order if predictions.scores[place] >= lowest[predictions.labels[place]]]
    right = plainly_right(truth, predictions, kept, 0.5)
    pairs, background, repeated = np.zeros((3, 3), int), np.zeros(3, int), np.zeros(3, int)
    for place in kept:
        label = predictions.labels[place]
        if place in right:
            pairs[label, label] += 1
            continue
        best = max(
            (overlap_of(truth, row, predictions, place), truth.labels[row] == label, -row) for row in range(len(truth))
        )
        if best[0] < 0.5:
            background[label] += 1
        elif best[1]:
            repeated[label] += 1
        else:
            pairs[truth.labels[-best[2]], label] += 1
    # which of equally overlapped true actions a prediction takes does not change how many are right
    np.testing.assert_array_equal(found.pairs, pairs)
    np.testing.assert_array_equal(found.background, background)
    np.testing.assert_array_equal(found.repeated, repeated)
    assert found.missed.sum() == len(truth) - len(right)
    np.testing.assert_array_equal(
        found.pairs.sum(axis=0) + found.background + found.repeated,
        np.bincount([predictions.labels[place] for place in kept], minlength=3),
    )


def test_the_most_frequent_confusions_come_first() -> None:
    truth = truth_of([(0, 0, 10, 0), (0, 20, 30, 1)])
    rows = [(0, 0, 10, 1, 0.9), (0, 20, 30, 0, 0.9), (0, 21, 30, 0, 0.8), (0, 50, 60, 0, 0.9)]
    found = confusion(truth, predictions_of(rows), np.array([0.5, 0.5]))
    assert found.most_confused(20) == [(1, 0, 2), (0, 1, 1)]
    assert found.most_confused(1) == [(1, 0, 2)]
    assert found.missed.tolist() == [1, 1]
    assert found.background.tolist() == [1, 0]
    assert confusion(truth, predictions_of(rows), np.array([np.nan, np.nan])).most_confused(20) == []


def test_200_thousand_predictions_of_200_classes_take_seconds_of_the_processor() -> None:
    generator = np.random.default_rng(0)
    videos, starts = generator.integers(0, 1000, 7000), generator.uniform(0, 200, 7000)
    labels = np.append(np.arange(200), generator.integers(0, 200, 6800))
    truth = TruthColumns(videos, starts, starts + generator.uniform(1, 60, 7000), labels)
    picked = generator.integers(0, 7000, 200_000)
    begins = starts[picked] + generator.normal(0, 5, 200_000)
    predicted = PredictionColumns(
        videos[picked], begins, begins + generator.uniform(1, 60, 200_000),
        np.where(generator.random(200_000) < 0.5, labels[picked], generator.integers(0, 200, 200_000)),
        generator.random(200_000),
    )  # fmt: skip
    started = time.process_time()
    pairing = Pairing(truth, predicted, 0.5, PROTOCOLS["activitynet"])
    for tiou in np.linspace(0.5, 0.95, 10):
        mean_curve(precisions(pairing, float(tiou)))
    judged = operating.pooled(pairing.judged(0.5))
    operating.reliability(judged)
    operating.points(judged, list(np.linspace(0, 1, 101)), 7000)
    confusion(truth, predicted, np.full(200, 0.3))
    assert time.process_time() - started < 30, "several times what a slow machine needs"
