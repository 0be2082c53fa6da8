"""Pages and tables of recognisers."""

import csv
import io
from pathlib import Path

import pytest

from actloc.commands import report
from actloc.evaluation.results_files import write_results
from actloc.recognition import reporting
from actloc.recognition.results import ClassAccuracy, Confused, RecognitionCounts, RecognitionResults
from actloc.settings.published import PublishedAccuracy
from tests.chromium import needs_browser
from tests.reports.browser import measured
from tests.reports.test_html import Page, assert_harmless

CLASSES = ["Apply eye makeup & <b>more</b>", *(f"class_{number}" for number in range(1, 28))]
FIGURES = PublishedAccuracy(source="its authors", subset="test", views="4 clips x 3 crops", top_1=81.8)


def made(name: str, top_1: float = 0.85, views: str = "4 clips x 3 crops") -> RecognitionResults:
    return RecognitionResults(
        name=name,
        dataset="diving48",
        subset="test",
        seed=0,
        checkpoint="ckpt_000010",
        weights="averaged",
        commit="0123456789ab",
        machine="here",
        version="0.1.0",
        created="2026-01-02T03:04:05",
        top_1=top_1,
        top_5=0.99,
        mean_class_accuracy=0.8,
        classes=CLASSES,
        per_class=[ClassAccuracy(clips=10, top_1=top_1, top_5=0.99)] * len(CLASSES),
        confusion=[Confused(true=place, predicted=0, clips=place + 1) for place in range(len(CLASSES))],
        views=views,
        average="probabilities",
        counts=RecognitionCounts(clips=280, unreadable={"v": "is cut short"}, clips_left_out=1),
        published=FIGURES,
    )


def write(folder: Path, results: RecognitionResults, learning_rate: str) -> Path:
    write_results(folder / "eval" / "test", results)
    (folder / "config.yaml").write_text(
        "task: {name: recognition}\nclips: {encoder: {name: dualformer}}\n"
        f"optimizer: {{learning_rate: {learning_rate}}}\n"
    )
    (folder / "environment.json").write_text("{}")
    return folder


def test_published_accuracy_is_beside_the_measured_one() -> None:
    table = reporting.overview([made("a")])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "4 clips x 3 crops", "85.00", "99.00", "80.00", "+3.20"],
        ["published: its authors", "4 clips x 3 crops", "81.8", "\u2013", "\u2013", "\u2013"],
    ]
    assert not any(cell.is_best for row in table.rows for cell in row)


def test_other_views_are_not_compared() -> None:
    table = reporting.overview([made("a", views="1 clip x 1 crop")])
    assert table.rows[0][-1].text == "\u2013"
    assert (
        "a is not compared with the published figures: views 4 clips x 3 crops, here 1 clip x 1 crop." in table.caption
    )


def test_several_runs_have_settings_classes_and_a_filter(tmp_path: Path) -> None:
    runs = [write(tmp_path / "a", made("a"), "1e-3"), write(tmp_path / "b", made("b", 0.9), "1e-4")]
    assert report.run(runs) == 0
    folder = tmp_path / "report_of_a_and_b"
    page = Page((folder / "report.html").read_text())
    assert_harmless(page)
    shown = " ".join(page.text.split())
    assert "optimizer.learning_rate 0.001 0.0001" in shown
    assert f"{CLASSES[0]} 85.00 90.00" in shown
    assert {"#compared-1", "#compared-2", "#compared-3", "#run-1", "#run-2"} <= set(page.values("href"))
    assert "search" in page.values("type")
    rows = list(csv.DictReader(io.StringIO((folder / "tables.csv").read_text())))
    given = [row for row in rows if row["origin"] == "published"]
    assert [(row["run"], row["top-1"], row["top-5"], row["commit"]) for row in given] == [
        ("a", "81.8", "", ""),
        ("b", "81.8", "", ""),
    ]


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("number", [1, 2])
def test_nothing_is_cut_and_no_texts_overlap(number: int, tmp_path: Path) -> None:
    runs = [write(tmp_path / name, made(name), "1e-3") for name in ("a", "b")[:number]]
    report.run(runs, output=tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    for width, found in measured(page, (1280, 768, 390), tmp_path).items():
        assert (found["cut"], found["overlaps"], found["unmarked"]) == ([], [], []), width
        assert width < 1280 or found["scrolled"] == []
