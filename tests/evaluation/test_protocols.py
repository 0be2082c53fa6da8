import typing
from dataclasses import replace

import pytest

from actloc.evaluation.columns import Intervals, TruthColumns
from actloc.evaluation.detection import average_precision, best_f1_thresholds, count_ties, recall_at
from actloc.evaluation.protocols import PROTOCOLS
from actloc.settings.choices import ProtocolName
from tests.evaluation.test_detection import predictions_of, truth_of

ACTIVITYNET, THUMOS = PROTOCOLS["activitynet"], PROTOCOLS["thumos"]
NO_AMBIGUOUS = PROTOCOLS["thumos_without_ambiguous"]


def with_ambiguous(truth: TruthColumns, *rows: tuple[int, float, float]) -> TruthColumns:
    unclear = truth_of([(*row, 0) for row in rows])
    return replace(truth, ambiguous=Intervals(unclear.videos, unclear.starts_s, unclear.ends_s))


def test_every_protocol_that_settings_can_name_is_defined() -> None:
    assert set(PROTOCOLS) == set(typing.get_args(ProtocolName))


def test_a_pair_of_zero_length_matches_only_under_activitynet() -> None:
    truth, predictions = truth_of([(0, 5, 5, 0)]), predictions_of([(0, 7, 7, 0, 0.5)])
    assert average_precision(truth, predictions, [0.5, 0.95], ACTIVITYNET).tolist() == [[1.0], [1.0]]
    assert average_precision(truth, predictions, [0.5]).item() == 0.0


def test_an_overlap_equal_to_the_threshold_does_not_count_under_thumos() -> None:
    truth, predictions = truth_of([(0, 0, 10, 0)]), predictions_of([(0, 0, 5, 0, 0.5)])
    assert average_precision(truth, predictions, [0.4999999, 0.5], THUMOS).tolist() == [[1.0], [0.0]]
    assert recall_at(truth, predictions, [0.4999999, 0.5], [1], THUMOS).ravel().tolist() == [1.0, 0.0]


def test_a_true_action_chooses_the_largest_overlap_under_thumos() -> None:
    truth = truth_of([(0, 0, 10, 0)])
    predictions = predictions_of([(0, 0, 7, 0, 0.9), (0, 0, 10, 0, 0.8)])
    assert average_precision(truth, predictions, [0.5], NO_AMBIGUOUS).item() == 0.5
    assert average_precision(truth, predictions, [0.5]).item() == 1.0


def test_the_first_true_action_of_the_file_chooses_first_under_thumos() -> None:
    rows = [(0, 0, 10, 0), (0, 2, 10, 0)]
    predictions = predictions_of([(0, 2, 10, 0, 0.9), (0, 0, 6, 0, 0.8)])
    assert average_precision(truth_of(rows), predictions, [0.55], THUMOS).item() == 0.5
    assert average_precision(truth_of(rows[::-1]), predictions, [0.55], THUMOS).item() == 1.0


def test_precision_is_not_interpolated_under_thumos() -> None:
    truth = truth_of([(0, 0, 1, 0), (0, 2, 3, 0), (0, 4, 5, 0)])
    rows = [(0, 8, 9, 0, 0.9), (0, 0, 1, 0, 0.8), (0, 2, 3, 0, 0.7), (0, 4, 5, 0, 0.6)]
    assert average_precision(truth, predictions_of(rows), [0.5], THUMOS).item() == pytest.approx(
        (1 / 2 + 2 / 3 + 3 / 4) / 3
    )
    assert average_precision(truth, predictions_of(rows), [0.5]).item() == pytest.approx(3 / 4)


def test_ambiguous_intervals_forgive_wrong_predictions_and_keep_right_ones() -> None:
    truth = with_ambiguous(truth_of([(0, 0, 10, 0)]), (0, 9, 30))
    rows = [(0, 20, 29, 0, 0.9), (1, 20, 29, 0, 0.8), (0, 0, 10, 0, 0.7), (0, 30, 40, 0, 0.6)]
    assert average_precision(truth, predictions_of(rows), [0.5], THUMOS).item() == 0.5
    assert average_precision(truth, predictions_of(rows), [0.5], NO_AMBIGUOUS).item() == pytest.approx(1 / 3)
    assert best_f1_thresholds(truth, predictions_of(rows), 0.5, THUMOS)[0][1] == pytest.approx(2 / 3)


def test_of_equal_scores_the_first_row_goes_first_under_thumos_and_the_last_under_actionformer() -> None:
    truth = truth_of([(0, 0, 10, 0)])
    predictions = predictions_of([(0, 0, 10, 0, 0.5), (0, 20, 30, 0, 0.5), (0, 20, 30, 1, 0.5)])
    assert average_precision(truth, predictions, [0.5], THUMOS).item() == 1.0
    assert average_precision(truth, predictions, [0.5]).item() == 0.5
    assert count_ties(predictions) == 2
    assert count_ties(predictions_of([])) == 0
