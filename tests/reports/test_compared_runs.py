"""Several runs on one page: what differs in their settings, and their predictions video by video."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actloc.evaluation.matching import worst_first
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import Results, TrueAction, Video
from actloc.reports.comparison import pairs_with_first
from actloc.reports.html import MOST_TIMELINES, report_page
from actloc.reports.run_settings import differing, key_facts
from actloc.reports.runs import Evaluation, read_run
from actloc.reports.timelines import Looks, compared_timeline
from tests.reports.made_up_runs import write_run
from tests.reports.test_html import Page, assert_harmless


def rows(*settings: dict[str, Any]) -> list[list[str]]:
    table = differing([f"run {number}" for number in range(1, len(settings) + 1)], settings)
    assert table is not None
    return [[cell.text for cell in row] for row in table.rows]


def test_only_settings_that_differ_are_listed() -> None:
    one = {"run.name": "a", "schedule.epochs": 5, "optimizer.learning_rate": 1e-4, "published.average": 1.0}
    other = {"run.name": "b", "schedule.epochs": 9, "optimizer.learning_rate": 1e-4, "published.average": 2.0}
    assert rows(one, other) == [["schedule.epochs", "5", "9"]]
    assert rows(one, one) == []


def test_settings_of_other_parts_are_dashes_but_those_of_newer_versions_are_left_out() -> None:
    other_part = rows({"detector.name": "etad", "detector.stages": 3}, {"detector.name": "actionformer"})
    assert other_part == [["detector.name", "etad", "actionformer"], ["detector.stages", "3", "\u2013"]]
    assert rows({"detector.name": "etad", "detector.new": 3}, {"detector.name": "etad"}) == []


def test_long_lists_are_shortened_unless_they_then_look_the_same() -> None:
    long, other = [1000 + place for place in range(30)], [2000 + place for place in range(40)]
    assert rows({"a.b": long}, {"a.b": other})[0][1:] == [
        "[1000, 1001, 1002, 1003, ... (30 values)",
        "[2000, 2001, 2002, 2003, ... (40 values)",
    ]
    shown = rows({"a.b": long}, {"a.b": [*long[:-1], 5]})[0][1:]
    assert shown[0] != shown[1]


def test_a_run_whose_settings_are_not_known_is_named() -> None:
    table = differing(["a", "b", "c"], [{"x.y": 1}, {}, {"x.y": 2}])
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [["x.y", "1", "\u2013", "2"]]
    assert table.caption == ["Not known, because config.yaml is missing or damaged: b."]
    assert differing(["a", "b"], [{"x.y": 1}, {}]) is None


def test_what_everybody_asks_for_first_is_in_the_facts() -> None:
    settings = {"detector.name": "etad", "features.encoder.name": "videomae", "features.encoder.size": "base"}
    settings |= {"schedule.epochs": 10, "schedule.warmup_epochs": 5, "optimizer.learning_rate": 1e-4}
    settings |= {"training.batch_size": 2, "training.accumulate": 4}
    assert key_facts(settings, 12345) == [
        ("Detector", "etad"),
        ("Encoder", "videomae base"),
        ("Epochs", "10 after 5 of warm-up"),
        ("Steps", "12,345"),
        ("Learning rate", "0.0001, adamw"),
        ("Batch", "2 x 4 passes"),
    ]
    assert key_facts({}, None) == []
    assert key_facts({"features.path": "i3d"}, None) == [("Encoder", "none; features of i3d")]


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> list[Evaluation]:
    folder = tmp_path_factory.mktemp("runs")
    return [evaluation for seed in (1, 2) for evaluation in read_run(write_run(folder / f"run_{seed}", seed))]


def test_each_video_is_drawn_once_with_a_lane_for_each_run(evaluations: list[Evaluation]) -> None:
    page = Page(report_page(evaluations))
    assert_harmless(page)
    sections = [value for value in page.values("id") if value.startswith("compared-video-") and "name" not in value]
    assert len(sections) == MOST_TIMELINES
    assert f"The worst {MOST_TIMELINES} of 35 videos" in page.text
    assert "5 more videos without timelines" in page.text
    videos = evaluations[0].results.videos
    _, changed = pairs_with_first(evaluations)[0].details(("run 1", "run 2"))
    listed = {row[0].text for row in changed.rows}
    assert all(page.text.count(video.id) == 1 + (video.id in listed) for video in videos)
    lanes = [label for label in page.values("aria-label") if ", truth: " in label or ", run " in label]
    assert sum(", truth: " in label for label in lanes) == sum(", run 1: " in label for label in lanes) > 0
    assert sum(", run 1: " in label for label in lanes) == sum(", run 2: " in label for label in lanes)


def test_the_contents_lead_to_every_part_and_every_run(evaluations: list[Evaluation]) -> None:
    page = Page(report_page(evaluations))
    wanted = {"#compared-map", "#compared-settings", "#compared-classes", "#compared-videos", "#run-1", "#run-2"}
    assert wanted <= set(page.values("href"))
    assert "features.max_steps" in page.text
    assert "Filter" in page.text


def test_videos_that_are_not_the_same_in_all_runs_are_drawn_apart(evaluations: list[Evaluation]) -> None:
    first, second = evaluations
    other = [*second.results.videos[:-1], second.results.videos[-1].model_copy(update={"truth": []})]
    changed = replace(second, results=second.results.model_copy(update={"videos": other[-2:]}))
    only_two = replace(first, results=first.results.model_copy(update={"videos": first.results.videos[-2:]}))
    page = Page(report_page([only_two, changed]))
    assert_harmless(page)
    assert page.text.count(first.results.videos[-2].id + "\n") <= 1
    names = [value for value in page.values("id") if value.startswith("compared-video-") and "name" not in value]
    assert len(names) == 3


def test_a_true_action_that_one_run_found_says_which(results: Results) -> None:
    video = Video(id="v", duration_s=9.0, truth=[TrueAction(label=results.classes[0], start_s=1.0, end_s=4.0)])
    run = results.model_copy(update={"videos": [video]})
    (found,) = worst_first(run, {"v": [Prediction(results.classes[0], 0.9, 1.0, 4.0)]})
    (missed,) = worst_first(run, {})
    looks = {name: Looks({results.classes[0]: 2}, 1.0) for name in ("run 1", "run 2")}
    timeline = compared_timeline({"run 1": missed, "run 2": found}, looks)
    (row,) = timeline.rows
    assert [track.side for track in row.tracks] == ["truth", "run 1", "run 2"]
    (bar,) = row.tracks[0].bars
    assert (bar.claim.kind, bar.claim.outcome) == ("partly", "found by run 2 only")
    assert "found by run 2 only" in row.tracks[0].words
    assert row.note == "run 1: 0 of 1 found\nrun 2: 1 of 1 found"


def test_many_classes_are_folded(evaluations: list[Evaluation]) -> None:
    page = Page(report_page(evaluations[:1]))
    assert "10 more classes" in page.text
    assert "Average precision per class" in page.text


def test_runs_of_different_folders_do_not_lose_their_names(tmp_path: Path) -> None:
    pair = [*read_run(write_run(tmp_path / "a" / "same", 1)), *read_run(write_run(tmp_path / "b" / "same", 2))]
    page = Page(report_page(pair))
    assert "same, seed 1" in page.text
    assert "same, seed 2" in page.text
