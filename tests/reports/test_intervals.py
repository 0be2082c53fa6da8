"""Intervals beside every mAP: terminal, page, Markdown and CSV."""

import csv
import io

from rich.console import Console

from actloc.reports import csv_table, tables
from actloc.reports.html import report_page
from actloc.reports.text import UNMEASURED
from tests.reports.scored_runs import evaluation
from tests.reports.test_html import Page, assert_harmless


def test_each_run_has_its_interval_below_it() -> None:
    runs = [evaluation("a").results, evaluation("b", 1).results]
    table = tables.map_table(runs)
    assert [row[0].text for row in table.rows] == ["a", "95 % interval", "b", "95 % interval"]
    about = runs[0].uncertainty
    assert about is not None
    assert about.average_map is not None
    assert table.rows[1][-1].text == f"{100 * about.average_map.low:.2f} to {100 * about.average_map.high:.2f}"
    assert "95 % interval: percentile bootstrap over videos, 1000 draws with seed 0." in table.caption
    assert "95 % interval" in tables.as_markdown(table)


def test_a_run_without_an_interval_has_dashes_and_the_reason() -> None:
    table = tables.map_table([evaluation("a", num_videos=1).results])
    assert [cell.text for cell in table.rows[1]] == ["95 % interval", *[UNMEASURED] * 4]
    assert "a has no 95 % interval: the subset has one video, and no other can be drawn." in table.caption
    page = Page(report_page([evaluation("a", num_videos=1)])).text
    assert "No 95 % interval: the subset has one video" in page


def test_a_narrow_terminal_shows_every_number_whole() -> None:
    table = tables.map_table(
        [evaluation(f"run_{seed}", seed, tious=(0.3, 0.4, 0.5, 0.6, 0.7)).results for seed in range(5)]
    )
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(tables.as_rich(table))
    words = console.file.getvalue().split()  # type: ignore[attr-defined]
    for row in table.rows:
        for cell in row[1:]:
            assert set(cell.text.split()) <= set(words)


def test_the_page_of_a_run_shows_the_interval_of_the_headline_and_of_each_bar() -> None:
    one = evaluation("a")
    page = Page(report_page([one]))
    assert_harmless(page)
    about = one.results.uncertainty
    assert about is not None
    for interval in about.mean_ap:
        assert interval is not None
        assert f"{100 * interval.low:.1f}\u2013{100 * interval.high:.1f}" in page.text
    assert about.average_map is not None
    low, high = 100 * about.average_map.low, 100 * about.average_map.high
    assert f"95 % interval: {low:.2f} to {high:.2f} (1000 draws of 8 videos, with replacement)" in page.text


def test_csv_has_both_ends_beside_each_map_and_a_row_for_each_run() -> None:
    runs = [evaluation("a", tious=(0.5,)).results, evaluation("b", 1, tious=(0.3, 0.5)).results]
    rows = list(csv.DictReader(io.StringIO(csv_table.as_csv(runs))))
    first, second = (row for row in rows if row["measure"] == "mAP")
    about = runs[0].uncertainty
    assert about is not None
    assert about.mean_ap[0] is not None
    assert first["0.50 95 % low"] == f"{100 * about.mean_ap[0].low:.2f}"
    assert first["average 95 % high"] == first["0.50 95 % high"]
    assert first["0.30 95 % low"] == ""
    assert float(second["0.30 95 % low"]) <= float(second["0.30"]) <= float(second["0.30 95 % high"])
    assert all(row["average 95 % low"] == "" for row in rows if row["measure"] != "mAP")
