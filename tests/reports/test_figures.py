from collections.abc import Callable

import pytest

from actloc.evaluation.matching import worst_first
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import Results
from actloc.reports.figures import curve, lengths


def test_a_curve_spans_the_box_and_averages_many_steps() -> None:
    drawn = curve([(step, 1000.0 - step) for step in range(1, 901)])
    assert drawn is not None
    points = [tuple(map(float, point.split(","))) for point in drawn.points.split()]
    assert len(points) == 300
    assert drawn.steps_per_point == 3
    assert points[0][1] == 0
    assert points[-1][1] == 100
    assert (drawn.first_step, drawn.last_step) == (1, 900)


@pytest.mark.parametrize("losses", [[], [(1, 0.5)]])
def test_fewer_than_two_steps_give_no_curve(losses: list[tuple[int, float]]) -> None:
    assert curve(losses) is None


def test_a_constant_loss_is_a_line_in_the_middle() -> None:
    drawn = curve([(1, 2.0), (2, 2.0)])
    assert drawn is not None
    assert drawn.points == "0.0,50.0 1000.0,50.0"


def test_lengths_count_every_true_action_once(results: Results, predictions: Predictions) -> None:
    summary = lengths(worst_first(results, predictions))
    assert summary is not None
    assert sum(one.num_actions for one in summary.classes) == 8
    assert sum(one.share for one in summary.classes) == pytest.approx(1)
    assert (summary.shortest_s, summary.median_s, summary.longest_s) == (4.0, 4.0, 4.0)


def test_no_true_actions_give_no_lengths(make_results: Callable[..., Results]) -> None:
    assert lengths(worst_first(make_results(videos=[]), {})) is None
