"""Intervals of accuracies: the same as those of videos that are really repeated, and where they are shown."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from actloc.evaluation import bootstrap
from actloc.recognition import reporting
from actloc.recognition.results import RecognitionResults
from actloc.recognition.scores import hits, mean_class_accuracy, truth_table
from actloc.recognition.uncertainty import accuracy_uncertainty
from tests.recognition.test_recognition_reports import made, write


def case(num_clips: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    truth = truth_table([[int(one)] for one in random.integers(0, 8, num_clips)], 8)
    scores = random.random(truth.shape) + 0.6 * truth
    return scores, truth, [f"v_{number}" for number in random.integers(0, 15, num_clips)]


def test_counting_a_video_several_times_is_the_same_as_repeating_its_clips() -> None:
    scores, truth, videos = case()
    names = sorted(set(videos))
    times = bootstrap.draws(len(names), 120)
    values = []
    for number in range(120):
        repeats = [int(times[names.index(video), number]) for video in videos]
        rows, labels = np.repeat(scores, repeats, axis=0), np.repeat(truth, repeats, axis=0)
        values.append([hits(rows, labels, 1).mean(), hits(rows, labels, 5).mean(), mean_class_accuracy(rows, labels)])
    expected = bootstrap.intervals(np.array(values, dtype=np.float64).T)
    found = accuracy_uncertainty(hits(scores, truth, 1), hits(scores, truth, 5), truth, videos, 120)
    shown = [(one.low, one.high) for one in (found.top_1, found.top_5, found.mean_class_accuracy) if one]
    np.testing.assert_allclose(shown, expected, atol=1e-12)
    assert (found.draws, found.reason) == (120, "")


def test_clips_of_one_video_have_no_interval() -> None:
    scores, truth, _ = case()
    found = accuracy_uncertainty(hits(scores, truth, 1), hits(scores, truth, 5), truth, ["v"] * 60)
    assert (found.top_1, found.draws) == (None, 0)
    assert found.reason == "the subset has one video, and no other can be drawn"


@pytest.fixture
def run() -> RecognitionResults:
    scores, truth, videos = case()
    about = accuracy_uncertainty(hits(scores, truth, 1), hits(scores, truth, 5), truth, videos)
    return made("a").model_copy(update={"uncertainty": about})


def test_tables_page_csv_and_latex_show_it(run: RecognitionResults, tmp_path: Path) -> None:
    about = run.uncertainty
    assert about is not None
    assert about.top_1 is not None
    ends = f"{100 * about.top_1.low:.2f} to {100 * about.top_1.high:.2f}"
    table = reporting.overview([run])
    assert [row[0].text for row in table.rows] == ["a", "95 % interval", "published: its authors"]
    assert table.rows[1][2].text == ends
    contents = reporting.report([write(tmp_path / "a", run, "1e-3")])
    assert f"95 % interval of top-1: {ends}" in contents["report.html"]
    rows = list(csv.DictReader(io.StringIO(contents["tables.csv"])))
    assert rows[0]["top-1 95 % low"] == f"{100 * about.top_1.low:.2f}"
    assert all(row["top-1 95 % low"] == "" for row in rows[1:])
    assert len({len(row) for row in csv.reader(io.StringIO(contents["tables.csv"]))}) == 1
    text = reporting.table([tmp_path / "a"], "latex")
    assert r"published: its authors$^{\dagger}$" in text
    assert text.count(r"\midrule") == 2
    assert reporting.table([tmp_path / "a"], "csv") == contents["tables.csv"]
    assert "95 % interval" in reporting.table([tmp_path / "a"], "markdown")


def test_runs_that_differ_in_the_seed_only_are_one_row(run: RecognitionResults, tmp_path: Path) -> None:
    folders = []
    for seed, top_1 in ((0, 0.5), (1, 0.6), (2, 0.7)):
        results = run.model_copy(update={"name": f"ta_seed{seed}", "seed": seed, "top_1": top_1})
        folders.append(write(tmp_path / f"ta_seed{seed}", results, "1e-3"))
    other = run.model_copy(update={"name": "slow", "seed": 5})
    folders.append(write(tmp_path / "slow", other, "1e-4"))
    contents = reporting.report(folders)
    assert "ta_seed*, mean of 3 seeds" in contents["report.html"]
    assert "| ta\\_seed\\*, mean of 3 seeds | 4 clips x 3 crops | 60.00 ± 10.00 |" in contents["tables.md"]
    assert "| ta\\_seed1 | 4 clips x 3 crops | 60.00 |" in contents["tables.md"]
    text = reporting.table(folders, "latex")
    assert r"ta\_seed*, mean of 3 seeds & 4 clips x 3 crops & 60.00 $\pm$ 10.00" in text
    assert "ta\\_seed1 &" not in text
    assert r"\textbf{85.00}" in text
    assert "n = 3" in text
