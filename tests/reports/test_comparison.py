"""What changed between two runs: the paired bootstrap, classes and videos."""

import numpy as np

from actloc.evaluation import bootstrap
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.rescoring import drawn_maps
from actloc.reports.cells import Table
from actloc.reports.comparison import pairs_with_first
from actloc.reports.html import report_page
from actloc.reports.runs import Evaluation
from actloc.reports.text import UNMEASURED
from tests.reports.scored_runs import LABELS, annotations, evaluation
from tests.reports.test_html import Page, assert_harmless

NAMES = ("one", "two")


def rows(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_both_runs_are_scored_on_the_same_draws() -> None:
    worse, better = evaluation("a", noise_s=4.0), evaluation("b", noise_s=1.0)
    (pair,) = pairs_with_first([worse, better])
    shown = rows(pair.overall(NAMES))
    drawn = [drawn_maps(one.results, one.predictions, [0.3, 0.5, 0.7]).mean(axis=0) for one in (worse, better)]
    change = drawn[1] - drawn[0]
    low, high = np.quantile(change, [0.025, 0.975])
    assert shown["95 % interval"][-1] == f"{100 * low:+.2f} to {100 * high:+.2f}"
    assert shown["better in draws (%)"][-1] == f"{100 * (change > 0).mean():.2f}"
    point = 100 * (better.results.average_map - worse.results.average_map)  # type: ignore[operator]
    assert shown["change"][-1] == f"{point:+.2f}"
    # paired, it is narrower than the intervals of the two runs would suggest
    spread = [np.ptp(np.quantile(one, [0.025, 0.975])) for one in drawn]
    assert high - low < sum(spread)


def test_a_run_against_itself_does_not_change() -> None:
    one = evaluation("a")
    (pair,) = pairs_with_first([one, one])
    shown = rows(pair.overall(NAMES))
    assert shown["change"] == ["0.00"] * 4
    assert shown["95 % interval"] == ["0.00 to 0.00"] * 4
    assert shown["better in draws (%)"] == ["0.00"] * 4
    classes, videos = pair.details(NAMES)
    assert classes.rows == videos.rows == []
    assert classes.caption[-1] == "3 classes unchanged."
    assert videos.caption[-1] == "8 videos unchanged."


def changed_in(video: str, found: list[Prediction]) -> Evaluation:
    """The run `a` with other predictions in one video."""
    one = evaluation("a", noise_s=0.1)
    predictions = {**one.predictions, video: found}
    return Evaluation(**{**vars(one), "predictions": predictions})


def test_videos_say_what_was_found_and_what_was_wrong() -> None:
    one = evaluation("a", noise_s=0.1)
    actions = annotations().videos["v_2"].actions
    lost = changed_in("v_2", [Prediction(LABELS[0], 0.99, 90.0, 99.0), Prediction(actions[0].label, 0.9, 10.0, 11.0)])
    (pair,) = pairs_with_first([one, lost])
    _, videos = pair.details(NAMES)
    assert videos.columns == ["video", "actions", "one", "two", "change", "found", "wrong"]
    (row,) = videos.rows
    before = row[2].text
    assert [cell.text for cell in row] == ["v_2", "3", before, "0.00", f"-{before}", "3 to 0", "0 to 2"]
    assert "7 videos unchanged." in videos.caption


def test_classes_are_sorted_by_the_size_of_their_change() -> None:
    (pair,) = pairs_with_first([evaluation("a", noise_s=1.0), evaluation("b", 1, noise_s=4.0)])
    classes, _ = pair.details(NAMES)
    changes = [abs(float(row[-1].text)) for row in classes.rows]
    assert len(changes) > 1
    assert changes == sorted(changes, reverse=True)
    by_class = {row[0].text: row for row in classes.rows}
    results = pair.other.results
    place = results.classes.index(classes.rows[0][0].text)
    assert by_class[results.classes[place]][3].text == f"{100 * np.mean(results.class_ap[place]):.2f}"  # type: ignore[arg-type]


def test_the_average_is_over_the_tious_that_both_have() -> None:
    (pair,) = pairs_with_first([evaluation("a"), evaluation("b", 1, tious=(0.5, 0.7, 0.9))])
    table = pair.overall(NAMES)
    assert table.columns == ["", "0.50", "0.70", "average"]
    shared = [f"{100 * np.mean(pair.first.results.mean_ap[1:]):.2f}"]  # type: ignore[arg-type]
    assert rows(table)["one"][2:] == shared
    assert "Over the tIoUs that both have: 0.50, 0.70." in table.caption


def test_runs_that_cannot_be_compared_are_not_and_it_says_why() -> None:
    one = evaluation("a")
    others = [
        evaluation("b", protocol="activitynet"),
        evaluation("c", num_videos=7),
        evaluation("d", tious=(0.9,)),
        evaluation("e", 1),
    ]
    pairs = pairs_with_first([one, *others])
    assert [pair.hindrance for pair in pairs] == [
        *["they differ in data, protocol or use of true classes"] * 2,
        "they have no tIoU in common",
        "",
    ]
    page = Page(report_page([one, *others]))
    assert_harmless(page)
    assert "Each run is compared with run 1." in page.text
    assert page.text.count("Not compared: they differ in data") == 2


def test_one_video_or_files_that_do_not_fit_give_the_change_without_an_interval() -> None:
    (pair,) = pairs_with_first([evaluation("a", num_videos=1), evaluation("b", 1, num_videos=1)])
    assert rows(pair.overall(NAMES))["95 % interval"] == [UNMEASURED] * 4
    assert "There is no interval: the subset has one video, and no other can be drawn." in pair.overall(NAMES).caption
    stale = Evaluation(**{**vars(evaluation("b", 1)), "predictions": {}})
    (pair,) = pairs_with_first([evaluation("a"), stale])
    assert pair.drawn is None
    assert "do not give its mAP again" in " ".join(pair.overall(NAMES).caption)


def test_other_videos_with_predictions_do_not_change_the_draws() -> None:
    one = evaluation("a")
    ids = sorted(one.predictions)
    plain = bootstrap.times_of(ids, set(ids))
    more = bootstrap.times_of(["elsewhere", *ids], set(ids))
    np.testing.assert_array_equal(more[1:], plain)
