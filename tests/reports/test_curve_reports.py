"""The curves of a report: what is drawn is what was measured, and a page stays small."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Results
from actloc.localization.reporting import contents_of
from actloc.reports import curve_figures, plots
from actloc.reports.comparison import pairs_with_first
from actloc.reports.curve_tables import curve_tables, curves_csv, threshold_table
from actloc.reports.curves import Curves, curves_of
from actloc.reports.runs import Evaluation
from tests.chromium import needs_browser
from tests.reports.browser import measured
from tests.reports.made_up_runs import made_up


def area(path: str, left: float, top: float, width: float, height: float) -> float:
    """The area under a path of steps, as a share of its box."""
    x, y = left, top + height
    total = 0.0
    for command, first, second in re.findall(r"([MLHV])([\d.]+)(?: ([\d.]+))?", path):
        if command in "ML":
            x, y = float(first), float(second)
        elif command == "V":
            y = float(first)
        else:
            total += (float(first) - x) * (top + height - y)
            x = float(first)
    return total / (width * height)


def scored(num_classes: int = 50, num_videos: int = 35) -> Curves:
    results, predictions = made_up("run", 1, num_videos)
    found = curves_of(results, predictions)
    assert found is not None
    assert num_classes >= len(found.labels)
    return found


def test_the_drawn_area_is_the_average_precision() -> None:
    curves = scored()
    view = curve_figures.view(curves)
    box = (plots.LEFT, plots.TOP, plots.WIDTH, plots.HEIGHT)
    for line, mean, by_class in zip(view.means, curves.means, curves.by_class, strict=True):
        assert line.area == pytest.approx(float(mean.mean()))
        assert line.area == pytest.approx(np.mean([curve.mean() for curve in by_class]))
        assert area(line.path, *box) == pytest.approx(line.area, abs=1e-3)
    assert view.num_left_out == len(curves.labels) - 20 > 0
    for at in view.at:
        assert len(at.classes) == 20
        for one in at.classes:
            assert area(one.path, 0, 0, plots.SMALL, plots.SMALL) == pytest.approx(one.ap, abs=1e-3)


def test_five_of_ten_tious_are_drawn_and_one_half_comes_first() -> None:
    curves = scored()
    assert curves.tious == [0.5, 0.6, 0.7, 0.85, 0.95]
    assert curves.chosen == 0


def test_files_that_do_not_give_their_numbers_again_are_reported(make_results: Callable[..., Results]) -> None:
    truth = make_results().videos
    right = {video.id: [Prediction(one.label, 0.9, one.start_s, one.end_s) for one in video.truth] for video in truth}
    perfect = [[1.0, 1.0]] * 3 + [[None, None]]
    curves = curves_of(make_results(class_ap=perfect), right)
    assert curves is not None
    assert not curves.differs
    assert curves.all_points.best is not None
    assert (curves.all_points.best.f1, curves.confusion.missed.sum()) == (1.0, 0)
    other = curves_of(make_results(), right)
    assert other is not None
    assert other.differs


def test_nothing_to_draw(make_results: Callable[..., Results]) -> None:
    assert curves_of(make_results(videos=[]), {}) is None
    assert curves_of(make_results(protocol="one of tomorrow"), {}) is None
    silent = curves_of(make_results(), {})
    assert silent is not None
    assert silent.bins == []
    assert silent.calibration_error is None
    assert silent.all_points.best is None
    assert all(table.title for table in curve_tables(silent))


def evaluation_of(results: Results, predictions: Predictions) -> Evaluation:
    return Evaluation(
        run=Path("ckpt/run"), settings=None, environment=None, command=None, losses=[], results=results,
        predictions=predictions,
    )  # fmt: skip


def test_the_tables_and_the_csv_have_the_numbers() -> None:
    results, predictions = made_up("run", 1)
    contents = contents_of([evaluation_of(results, predictions)], [])
    assert "Score thresholds of best F1" in contents["tables.md"]
    assert "35 videos of validation with 140 actions" in contents["tables.md"]
    assert "optimistic" in contents["report.html"]
    rows = list(csv.DictReader(io.StringIO(contents["curves.csv"])))
    curves = scored()
    assert {row["curve"] for row in rows} == {
        "precision and recall", "score threshold", "best F1", "calibration", "confusion",
    }  # fmt: skip
    for place, tiou in enumerate(curves.tious):
        mean = [row for row in rows if row["curve"] == "precision and recall" and row["tIoU"] == f"{tiou:.6g}"]
        steps = [(float(row["recall"]), float(row["precision"])) for row in mean if not row["class"]]
        total = sum(
            (recall - before) * precision
            for (before, _), (recall, precision) in zip([(0.0, 0.0), *steps], steps, strict=False)
        )
        assert total == pytest.approx(float(curves.means[place].mean()), abs=1e-4)
    confused = [row for row in rows if row["curve"] == "confusion"]
    assert sum(int(row["predictions"]) for row in confused) == sum(
        int(counts.sum())
        for counts in (
            curves.confusion.pairs, curves.confusion.missed, curves.confusion.background, curves.confusion.repeated,
        )
    )  # fmt: skip
    assert [row[0].text for row in threshold_table(curves).rows] == [f"0.{tenth}0" for tenth in range(1, 10)]


def test_formulas_are_no_formulas_in_the_csv(make_results: Callable[..., Results], predictions: Predictions) -> None:
    curves = curves_of(make_results(), predictions)
    assert curves is not None
    rows = csv.reader(io.StringIO(curves_csv([("=run", curves)])))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]


def many_classes(num_classes: int, num_videos: int) -> tuple[Results, Predictions]:
    results, predictions = made_up("run", 1, num_videos)
    names = [f"class with a rather long name {number}" for number in range(num_classes)]

    def renamed(label: str, video: int) -> str:
        return names[(results.classes.index(label) + 7 * video) % num_classes]

    videos = [
        one.model_copy(
            update={"truth": [action.model_copy(update={"label": renamed(action.label, n)}) for action in one.truth]}
        )
        for n, one in enumerate(results.videos)
    ]
    changed = {
        one.id: [replace(found, label=renamed(found.label, n)) for found in predictions[one.id] * 3]
        for n, one in enumerate(results.videos)
    }
    each = {
        "classes": names, "class_ap": [results.class_ap[1]] * num_classes, "truth_per_class": [3] * num_classes,
        "thresholds": [results.thresholds[0]] * num_classes, "videos": videos,
    }  # fmt: skip
    return results.model_copy(update=each), changed


@pytest.mark.parametrize(("num_classes", "num_videos"), [(20, 213), (200, 600)])
def test_pages_of_large_benchmarks_stay_below_5_mb(num_classes: int, num_videos: int) -> None:
    contents = contents_of([evaluation_of(*many_classes(num_classes, num_videos))], [])
    assert len(contents["report.html"].encode()) < 5e6
    assert len(contents["curves.csv"].encode()) < 10e6


def test_mean_curves_of_runs_are_drawn_over_each_other() -> None:
    evaluations = [evaluation_of(*made_up(f"run_{seed}", seed)) for seed in (1, 2, 3)]
    page = contents_of(evaluations, pairs_with_first(evaluations))["report.html"]
    assert page.count('id="compared-curves"') == 1
    assert 'aria-label="Mean precision-recall curves of the runs at tIoU 0.50, area: run 1 ' in page
    at = curve_figures.compared([curves_of(one.results, one.predictions) for one in evaluations], ["a", "b", "c"])
    assert [len(one.lines) for one in at] == [3] * 5
    assert len({(line.number % 6, line.shape) for line in at[0].lines}) == 3


@needs_browser
@pytest.mark.slow
def test_the_slider_shows_the_counts_of_its_threshold(tmp_path: Path) -> None:
    results, predictions = made_up("run", 1)
    page = contents_of([evaluation_of(results, predictions)], [])["report.html"]
    curves = scored()
    point, one = curves.all_points.points[80], curves.class_points[3].points[80]
    ask = (
        "const slider = document.querySelector('.slider input'); slider.value = 80; "
        "slider.dispatchEvent(new Event('input')); "
        "const words = () => document.querySelector('.at-counts').textContent; const first = words(); "
        "const choice = document.querySelector('.slider select'); choice.selectedIndex = 4; "
        "choice.dispatchEvent(new Event('change')); document.querySelector('.pick .choice-3').click(); "
        "const shown = [...document.querySelectorAll('.pick .at')].filter((part) => part.checkVisibility()); "
        "const at = shown.map((part) => part.className).join(); "
        "const found = [first, words(), at]; "
    )
    wanted = [
        *(
            f"{each.kept} count: {each.right} right, {each.kept - each.right} wrong; "
            f"{each.num_truths - each.right} of {each.num_truths} actions missed"
            for each in (point, one)
        ),
        "at at-3",
    ]
    check = f"if (JSON.stringify(found) !== JSON.stringify({wanted})) throw new Error('other counts');"
    set_status = "document.title = 'as expected';"
    found = measured(page, (390,), tmp_path, f"(() => {{ {ask} {check} {set_status} }})();")
    assert found[390]["cut"] == []
