"""Runs that differ in the seed only are one row, with the runs below it; no others are."""

from statistics import mean, stdev
from typing import Any

import pytest

from actloc.evaluation.results import TrainedRun
from actloc.reports.html import report_page
from actloc.reports.map_rows import SeedGroup
from actloc.reports.runs import Evaluation
from actloc.reports.seeds import merged_table, seeds_of
from tests.reports.scored_runs import evaluation
from tests.reports.test_html import Page, assert_harmless


def seed_groups(evaluations: list[Evaluation]) -> list[SeedGroup]:
    return seeds_of(evaluations).groups()


def three(noise_s: float = 2.0) -> list[Evaluation]:
    return [evaluation(f"af_seed{seed}", seed, noise_s) for seed in (0, 1, 7)]


def test_the_row_is_the_mean_and_the_sample_standard_deviation_and_the_runs_are_below_it() -> None:
    other = evaluation("slow", 0, settings={"optimizer.learning_rate": 1e-5})
    first, *rest = three()
    runs = [first, other, *rest]
    table = merged_table(runs)
    assert [row[0].text for row in table.rows] == [
        "af_seed*, mean of 3 seeds",
        *[name for seed in (0, 1, 7) for name in (f"af_seed{seed}", "95 % interval")],
        *["slow", "95 % interval"],
    ]
    averages = [one.results.average_map for one in (first, *rest)]
    assert table.rows[0][-1].text == f"{100 * mean(averages):.2f} ± {100 * stdev(averages):.2f}"  # type: ignore[type-var,arg-type]
    assert table.rows[1][-1].text == f"{100 * averages[0]:.2f}"  # type: ignore[operator]
    said = "mean ± sample standard deviation (n = 3, divided by n - 1) of the 3 seeds 0, 1, 7."
    assert any(line.endswith(said) for line in table.caption)


def test_the_mean_competes_for_the_best_and_its_runs_do_not() -> None:
    worse = evaluation("noisy", 0, 6.0, settings={"optimizer.learning_rate": 1e-5})
    bold = {row[0].text for row in merged_table([*three(), worse]).rows if row[-1].is_best}
    assert bold == {"af_seed*, mean of 3 seeds"}
    better = evaluation("exact", 0, 0.1, settings={"optimizer.learning_rate": 1e-5})
    assert {row[0].text for row in merged_table([*three(), better]).rows if row[-1].is_best} == {"exact"}
    assert not any(cell.is_best for row in merged_table(three()).rows for cell in row)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"settings": {"optimizer.learning_rate": 1e-5}}, "optimizer.learning_rate"),
        ({"settings": {"detector.name": "etad"}}, "detector.name"),
        ({"settings": {"training.batch_size": 3}}, "training.batch_size"),
        ({"tious": (0.3, 0.5)}, "tIoUs"),
        ({"protocol": "activitynet"}, "data or protocol"),
        ({"num_videos": 7}, "data or protocol"),
        ({"subset": "validation"}, "data or protocol"),
        ({"weights": "raw"}, "weights"),
        ({"changed": {"suppression.method": "hard"}}, "changed settings"),
        ({"code": {"mine.py": "abc"}}, "own code"),
        ({"commit": "ba9876543210"}, "commit"),
        ({"annotations_sha256": "abc"}, "annotations"),
        ({"trained": TrainedRun(step=20, num_steps=30, is_finished=False)}, "steps of training"),
        ({"trained": TrainedRun(step=30, is_finished=True, trained_videos=["v_1"])}, "videos seen in training"),
    ],
)
def test_runs_that_differ_in_anything_else_are_not_one_row(change: dict[str, Any], difference: str) -> None:
    if "training.batch_size" in change.get("settings", {}):
        one = evaluation("a", 0, settings={"training.batch_size": 2})
    else:
        one = evaluation("a", 0)
    other = evaluation("b", 1, **change)
    assert seed_groups([one, other]) == []
    assert any(difference in found for found in seeds_of([one, other]).other_differences(0, 1))


def test_the_names_that_follow_from_the_seed_and_the_machine_are_no_difference() -> None:
    moved = {"run.folder": "elsewhere", "machine.device": "cuda:1"}
    (group,) = seed_groups([evaluation("a", 0), evaluation("b", 1, settings=moved)])
    assert (group.places, group.name) == ((0, 1), "a, b, mean of 2 seeds")


def test_a_seed_counts_once_and_runs_without_settings_or_seed_are_never_merged() -> None:
    assert seed_groups([evaluation("a", 0), evaluation("again", 0)]) == []
    (group,) = seed_groups([evaluation("a", 0), evaluation("again", 0), evaluation("b", 1)])
    assert group.places == (0, 2)
    unknown = [Evaluation(**{**vars(one), "chosen": {}}) for one in three()]
    assert seed_groups(unknown) == []
    assert seed_groups([evaluation("a", None), evaluation("b", 1)]) == []


def test_runs_of_two_commits_are_not_one_row_and_it_says_so() -> None:
    table = merged_table([evaluation("a", 0), evaluation("b", 1, commit="ba9876543210")])
    assert "a and b differ in the seed and in commit, so they are not one row." in table.caption


def test_each_kind_of_result_of_the_same_runs_has_a_row_with_its_own_name() -> None:
    raw = [evaluation(f"af_seed{seed}", seed, weights="raw", changed={"evaluation.weights": "raw"}) for seed in (0, 1)]
    groups = seed_groups([*three()[:2], *raw])
    assert [(group.places, group.name) for group in groups] == [
        ((0, 1), "af_seed*, mean of 2 seeds"),
        ((2, 3), "af_seed*, evaluation.weights=raw, mean of 2 seeds"),
    ]


def test_the_page_shows_the_mean_and_every_run() -> None:
    page = Page(report_page(three()))
    assert_harmless(page)
    assert "af_seed*, mean of 3 seeds" in page.text
    assert all(f"af_seed{seed}" in page.text for seed in (0, 1, 7))
