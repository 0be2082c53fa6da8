import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.evaluation import pairing
from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.detection import average_precision, best_f1_thresholds, recall_at
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from actloc.ops.segments import iou
from tests.golden.cases import GOLDEN, counted_rows

FACTS = json.loads((GOLDEN / "evaluator.json").read_text())


def truth_of(rows: list[tuple[int, float, float, int]]) -> TruthColumns:
    """Rows of video, start, end, label."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return TruthColumns(table[:, 0].astype(int), table[:, 1], table[:, 2], table[:, 3].astype(int))


def predictions_of(rows: list[tuple[int, float, float, int, float]]) -> PredictionColumns:
    """Rows of video, start, end, label, score."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return PredictionColumns(table[:, 0].astype(int), table[:, 1], table[:, 2], table[:, 3].astype(int), table[:, 4])


def official(name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]], TruthColumns, PredictionColumns]:
    facts = FACTS[name]
    with np.load(GOLDEN / "evaluator.npz") as file:
        arrays = {key.removeprefix(f"{name}_"): file[key] for key in file if key.startswith(f"{name}_")}
    number = {video: index for index, video in enumerate(facts["database"])}
    rows = [
        (number[video], *row)
        for video, entry in facts["database"].items()
        if entry["subset"].lower() == facts["split"]
        for row in counted_rows(entry["annotations"])
    ]
    videos = np.array([number.get(video, -1) for video in facts["pred_videos"]])[arrays["pred_video"]]
    predicted = (arrays[f"pred_{column}"] for column in ("t-start", "t-end", "label", "score"))
    return facts, arrays, truth_of(rows), PredictionColumns(videos, *predicted)


@pytest.mark.parametrize("name", FACTS)
def test_average_precision_equals_the_official_one(name: str) -> None:
    facts, arrays, truth, predictions = official(name)
    ap = average_precision(truth, predictions, facts["tiou"])
    np.testing.assert_allclose(ap, arrays["ap_stable"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(ap.mean(axis=1), facts["stable"]["mAP"], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FACTS)
def test_recall_equals_the_official_one(name: str) -> None:
    facts, arrays, truth, predictions = official(name)
    recall = recall_at(truth, predictions, facts["tiou"], facts["top_k"])
    np.testing.assert_allclose(recall, arrays["recall_stable"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(recall.mean(axis=2), facts["stable"]["recall"], atol=1e-12, rtol=0)


def direct(truth: TruthColumns, predictions: PredictionColumns, tiou: float) -> list[float]:
    """Average precision by its definition: one prediction after the other, compared with every true action."""
    areas = []
    for label in truth.classes:
        free = set(np.flatnonzero(truth.labels == label))
        total, precisions, hits = len(free), [], []
        rows = np.flatnonzero(predictions.labels == label)
        for row in rows[np.argsort(predictions.scores[rows], kind="stable")[::-1]]:
            start, end = predictions.starts_s[row], predictions.ends_s[row]
            best, match = -1.0, None
            for index in sorted(free, reverse=True):
                low, high = max(truth.starts_s[index], start), min(truth.ends_s[index], end)
                shared = max(high - low, 0.0)
                overlap = shared / ((truth.ends_s[index] - truth.starts_s[index]) + (end - start) - shared)
                if truth.videos[index] == predictions.videos[row] and overlap >= tiou and overlap > best:
                    best, match = overlap, index
            hits.append(match is not None)
            precisions.append(sum(hits) / len(hits))
            free.discard(match)
        areas.append(sum(max(precisions[i:]) for i, hit in enumerate(hits) if hit) / total)
    return areas


TRUTH = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 10), st.integers(0, 2)), min_size=1, max_size=12
).map(lambda rows: truth_of([(video, start, start + length, label) for video, start, length, label in rows]))
PREDICTED = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 10), st.integers(0, 3), st.integers(1, 1000)),
    max_size=30,
    unique_by=lambda row: row[4],
).map(lambda rows: [(video, start, start + length, label, score / 1000) for video, start, length, label, score in rows])


@settings(deadline=None)
@given(TRUTH, PREDICTED, st.sampled_from([0.1, 0.5, 0.75]))
def test_matching_all_at_once_equals_matching_one_by_one(truth: TruthColumns, rows: list[Any], tiou: float) -> None:
    predictions = predictions_of(rows)
    ap = average_precision(truth, predictions, [tiou])
    np.testing.assert_allclose(ap[0], direct(truth, predictions, tiou), atol=1e-12, rtol=0)


@settings(deadline=None)
@given(TRUTH)
def test_the_ground_truth_scores_one_against_itself(truth: TruthColumns) -> None:
    scores = np.linspace(0.1, 0.9, len(truth))
    predictions = PredictionColumns(truth.videos, truth.starts_s, truth.ends_s, truth.labels, scores)
    np.testing.assert_allclose(average_precision(truth, predictions, [0.3, 0.95]), 1.0, atol=1e-12)
    np.testing.assert_allclose(recall_at(truth, predictions, [0.3, 0.95], [1]), 1.0, atol=1e-12)
    assert all(f1 == pytest.approx(1.0) for _, f1 in best_f1_thresholds(truth, predictions).values())


@settings(deadline=None)
@given(TRUTH, PREDICTED, st.randoms(use_true_random=False))
def test_the_order_of_predictions_does_not_matter(truth: TruthColumns, rows: list[Any], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    for measure in (average_precision, recall_at):
        first, second = (measure(truth, predictions_of(order), [0.3, 0.7]) for order in (rows, shuffled))
        np.testing.assert_array_equal(first, second)
    assert best_f1_thresholds(truth, predictions_of(rows)) == best_f1_thresholds(truth, predictions_of(shuffled))


def test_computing_in_small_batches_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, _, truth, predictions = official("basic")
    whole = average_precision(truth, predictions, facts["tiou"])
    monkeypatch.setattr(pairing, "PAIRS_AT_ONCE", 3)
    np.testing.assert_array_equal(average_precision(truth, predictions, facts["tiou"]), whole)


def long_video(num_actions: int) -> tuple[TruthColumns, PredictionColumns]:
    """A video with actions one after the other, one longer than all others, and two predictions near each."""
    draw = np.random.default_rng(0)
    starts = np.sort(draw.integers(0, 20 * num_actions, num_actions)) / 2
    truth = truth_of([(0, 5, 60, 0), *((0, start, start + draw.integers(1, 8), start % 2) for start in starts)])
    near = [start + draw.integers(-4, 4, 2) / 2 for start in [*starts, *starts]]
    return truth, predictions_of([(0, one.min(), one.max() + 3, draw.integers(2), draw.random()) for one in near])


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_of_many_actions_only_those_that_may_overlap_are_compared(
    monkeypatch: pytest.MonkeyPatch, protocol: Protocol
) -> None:
    counted = {}
    for num_actions in (300, 600):
        shapes: list[int] = []

        def counting(one: Any, other: Any, shapes: list[int] = shapes) -> Any:
            shapes.append(len(one))
            return iou(one, other)

        monkeypatch.setattr(pairing, "iou", counting)
        found = pairing.Pairing(*long_video(num_actions), 0.1, protocol)
        counted[num_actions] = sum(shapes)
    monkeypatch.setattr(pairing, "MANY", 10**9)
    compared = pairing.Pairing(*long_video(num_actions), 0.1, protocol)
    for column in ("pair_rows", "pair_truths", "pair_ious"):
        np.testing.assert_array_equal(getattr(found, column), getattr(compared, column))
    assert counted[600] < 2.2 * counted[300]
    assert counted[600] < sum(shapes) / 10 + 1


@pytest.mark.parametrize("measure", [average_precision, recall_at])
def test_scoring_without_ground_truth_is_an_error(measure: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="no ground truth"):
        measure(truth_of([]), predictions_of([(0, 0, 1, 0, 0.5)]), [0.5])


def test_without_predictions_everything_is_zero() -> None:
    truth = truth_of([(0, 0, 1, 4), (0, 2, 3, 7)])
    assert average_precision(truth, predictions_of([]), [0.5, 0.7]).tolist() == [[0, 0], [0, 0]]
    assert recall_at(truth, predictions_of([]), [0.5]).tolist() == [[[0, 0], [0, 0]]]
    assert best_f1_thresholds(truth, predictions_of([])) == {}


def test_predictions_for_unknown_videos_are_wrong_and_those_of_unknown_classes_are_ignored() -> None:
    truth = truth_of([(0, 0, 10, 0)])
    right = (0, 0, 10, 0, 0.5)
    assert average_precision(truth, predictions_of([right, (9, 0, 10, 0, 0.9)]), [0.5]).item() == 0.5
    assert average_precision(truth, predictions_of([right, (0, 0, 10, 3, 0.9)]), [0.5]).item() == 1.0


def test_the_official_collision_of_unknown_labels_can_be_reproduced() -> None:
    truth = truth_of([(0, 0, 10, 0), (0, 20, 30, 2), (0, 40, 50, 5)])
    predictions = predictions_of([(0, 20, 30, 1, 0.9)])  # label 1 is the column of class 2
    assert average_precision(truth, predictions, [0.5]).tolist() == [[0, 0, 0]]
    colliding = PROTOCOLS["actionformer_collisions"]
    assert average_precision(truth, predictions, [0.5], colliding).tolist() == [[0, 1, 0]]


def test_the_best_f1_threshold_keeps_predictions_of_equal_score_together() -> None:
    truth = truth_of([(0, 0, 10, 3), (0, 20, 30, 3), (0, 0, 10, 4)])
    rows = [(0, 0, 10, 3, 0.9), (0, 50, 60, 3, 0.6), (0, 20, 30, 3, 0.6), (0, 70, 80, 3, 0.2), (0, 5, 30, 4, 0.8)]
    assert best_f1_thresholds(truth, predictions_of(rows)) == {3: (pytest.approx(0.4), pytest.approx(0.8))}


def test_an_overlap_equal_to_the_threshold_counts() -> None:
    truth, predictions = truth_of([(0, 0, 10, 0)]), predictions_of([(0, 0, 5, 0, 0.5)])
    assert average_precision(truth, predictions, [0.5, 0.5000001]).tolist() == [[1.0], [0.0]]


def test_a_prediction_takes_the_next_best_action_when_its_favourite_is_taken() -> None:
    truth = truth_of([(0, 0, 10, 0), (0, 1, 11, 0)])
    predictions = predictions_of([(0, 0, 10, 0, 0.9), (0, 0, 10, 0, 0.8), (0, 0, 10, 0, 0.7)])
    assert average_precision(truth, predictions, [0.5]).item() == 1.0
