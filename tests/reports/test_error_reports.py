"""The section "Where it fails" and its tables."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from actloc.evaluation.error_analysis.analysis import analyse, analysis_of
from actloc.evaluation.error_analysis.bins import Bins
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Results, Video
from actloc.localization.reporting import contents_of
from actloc.reports import error_tables
from actloc.reports.comparison import pairs_with_first
from actloc.reports.error_figures import cost_sentence, error_view, ranges
from actloc.reports.html import report_page
from actloc.reports.runs import Evaluation
from tests.evaluation.test_error_analysis import recorded, video
from tests.reports.conftest import FORMULA
from tests.reports.made_up_runs import made_up


def evaluation_of(results: Results, predictions: Predictions) -> Evaluation:
    return Evaluation(
        run=Path("ckpt/a"),
        results=results,
        predictions=predictions,
        settings=None,
        environment=None,
        command=None,
        losses=[],
    )


def test_the_sentences_say_what_the_figures_show() -> None:
    analysis = analyse(*recorded("thumos"), [0.5], "thumos14")
    view = error_view(analysis)
    assert view.cost == (
        "Wrong label costs most: without it mAP_N would be 8.86 points higher (46.89 instead of 38.03)."
    )
    assert view.profile == (
        "Of the best G predictions of each class, 40.10 % are true positives; the most frequent error is wrong label, "
        "with 18.84 %."
    )
    assert view.bins[1].sentence == (
        "Missed most are those of L (12 to 18 s): 27.78 % of 18; least those of XL (above 18 s): 7.14 % of 42."
    )


def test_without_an_error_among_the_best_predictions_none_is_named() -> None:
    truth, _ = recorded("thumos")
    found = {
        one.id: [Prediction(action.label, 1.0, action.start_s, action.end_s) for action in one.truth] for one in truth
    }
    assert error_view(analyse(truth, found, [0.5], "thumos14")).profile == (
        "Of the best G predictions of each class, 100.00 % are true positives."
    )


def test_every_bar_is_whole_and_in_the_order_of_the_kinds() -> None:
    view = error_view(analyse(*recorded("anet"), [0.5, 0.7], "activitynet"))
    drawn = [group for group in view.groups if group.parts]
    assert len(view.groups) == 10
    assert 5 < len(drawn) < 10
    for group in drawn:
        assert sum(part.share for part in group.parts) == pytest.approx(1)
        assert group.parts[-1].top == pytest.approx(0, abs=1e-9)
        assert [part.kind for part in group.parts] == sorted(part.kind for part in group.parts)
        assert group.words.startswith(f"{group.name}: ")


@pytest.mark.parametrize(
    ("characteristic", "edges", "texts"),
    [
        ("length", [0.0, 3.0, float("inf")], ["up to 3 s", "above 3 s"]),
        ("coverage", [0.0123, 0.02, 0.5], ["1.23 to 2 %", "2 to 50 %"]),
        ("num-instances", [-1.0, 1.0, 4.0, 5.0, float("inf")], ["up to 1", "2 to 4", "5", "above 5"]),
        ("num-instances", [2.0, 3.4, 7.0], ["2 to 3", "4 to 7"]),
    ],
)
def test_ranges_are_written_with_their_edges(characteristic: str, edges: list[float], texts: list[str]) -> None:
    bins = Bins(characteristic, edges, ["S"] * len(texts), np.zeros(0, dtype=np.int64))  # type: ignore[arg-type]
    assert ranges(bins) == texts


def test_a_perfect_detector_has_no_costly_error() -> None:
    analysis = analyse([video("a", (0, 10, "run"))], {"a": [Prediction("run", 0.9, 0, 10)]}, [0.5], "quintiles")
    assert cost_sentence(analysis) == "No kind of false positive costs anything."
    view = error_view(analysis)
    assert view.bins[1].sentence == "0.00 % of the true actions are missed in every range."


def test_without_predictions_the_page_says_so(make_results: Callable[..., Results]) -> None:
    page = report_page([evaluation_of(make_results(), {})])
    assert "There is no prediction of a class with true actions." in page


def test_without_true_actions_there_is_nothing_to_analyse(make_results: Callable[..., Results]) -> None:
    results = make_results(videos=[Video(id="a", duration_s=3.0)])
    contents = contents_of([evaluation_of(results, {})], [])
    assert "There are no true actions." in contents["report.html"]
    assert "Where it fails" not in contents["tables.md"]
    assert contents["errors.csv"].count("\n") == 1


def test_hostile_names_do_no_harm(results: Results, predictions: Predictions) -> None:
    text = contents_of([evaluation_of(results, predictions)], [])["errors.csv"]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert f"'{FORMULA}" in {row["class"] for row in rows}
    assert FORMULA not in {row["class"] for row in rows}


def test_figures_have_words_beside_colours(results: Results, predictions: Predictions) -> None:
    page = report_page([evaluation_of(results, predictions)])
    assert page.count('role="img" aria-label="Kinds of predictions by rank. 1G: ') == 1
    for kind in range(1, 6):
        assert page.count(f'id="kind-{kind}"') == 1
        assert f"url(#kind-{kind})" in page


def test_several_runs_are_compared_kind_by_kind() -> None:
    evaluations = [evaluation_of(*made_up(f"seed {seed}", seed, num_videos=4)) for seed in (1, 2)]
    contents = contents_of(evaluations, pairs_with_first(evaluations))
    table = error_tables.cost_comparison(["a", "b"], [analysis_of(one.results, one.predictions) for one in evaluations])
    assert [row[0].text for row in table.rows] == ["a", "b"]
    assert [sum(cell.is_best for cell in row) for row in table.rows] == [1, 1]
    for text in (contents["tables.md"], contents["report.html"]):
        assert "Where they fail" in text
        assert "Missed true actions in percent, by range" in text
    assert contents["report.html"].count('id="kind-1"') == 1


def test_misses_are_compared_only_in_the_same_ranges() -> None:
    first = analyse(*recorded("anet"), [0.5], "activitynet")
    other = analyse(*recorded("anet"), [0.5], "thumos14")
    assert error_tables.missed_comparison(["a", "b"], [first, other]) is None
    assert error_tables.error_comparison(["a", "b"], [first, None])[0].rows[0][0].text == "a"
    assert error_tables.error_comparison(["a"], [None]) == []
