"""The error analysis against recordings of the paper's code, and where its definitions leave something open."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.evaluation.error_analysis import kinds
from actloc.evaluation.error_analysis.analysis import analyse
from actloc.evaluation.error_analysis.bins import bins_for, bins_of
from actloc.evaluation.error_analysis.errors_file import as_json
from actloc.evaluation.error_analysis.subset import kinds_by_video, subset_of
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import TrueAction, Video
from actloc.settings.choices import ErrorBins
from tests.evaluation.error_analysis_by_loops import Analysis, Claim, Truth

GOLDEN = Path("tests/golden/error_analysis")
RECORDED: list[tuple[str, ErrorBins]] = [("thumos", "thumos14"), ("anet", "activitynet")]


def read(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def recorded(name: str) -> tuple[list[Video], Predictions]:
    videos = [
        video(video_id, *[(*one["segment"], one["label"]) for one in facts["annotations"]], duration=facts["duration"])
        for video_id, facts in read(f"{name}_truth")["database"].items()
    ]
    found = {
        video_id: [Prediction(one["label"], one["score"], *one["segment"]) for one in listed]
        for video_id, listed in read(f"{name}_predictions")["results"].items()
    }
    return videos, found


def video(video_id: str, *actions: tuple[float, float, str], duration: float = 100.0) -> Video:
    truth = [TrueAction(label=label, start_s=start, end_s=end) for start, end, label in actions]
    return Video(id=video_id, duration_s=duration, truth=truth)


def measured(videos: list[Video], found: Predictions, bins: ErrorBins = "thumos14") -> dict[str, Any]:
    return as_json(analyse(videos, found, [0.5], bins))


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    if isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            return [f"{where}: {sorted(ours)} instead of {sorted(theirs)}"]
        return [line for key in theirs for line in differences(ours[key], theirs[key], f"{where}/{key}")]
    if isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{where}: {len(ours)} instead of {len(theirs)}"]
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for place, (one, other) in pairs for line in differences(one, other, f"{where}/{place}")]
    if isinstance(theirs, str):
        return [] if ours == theirs else [f"{where}: {ours} instead of {theirs}"]
    return [] if math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-9) else [f"{where}: {ours} instead of {theirs}"]


@pytest.mark.parametrize(("name", "bins"), RECORDED)
def test_every_number_is_that_of_the_papers_code(name: str, bins: ErrorBins) -> None:
    expected = read(f"{name}_expected")
    ours = as_json(analyse(*recorded(name), expected["tious"], bins))
    assert differences(ours, expected) == []
    assert len(expected["false_positives"]["each"]) == len(ours["false_positives"]["each"]) > 200


def made_up(seed: int) -> tuple[list[Video], Predictions]:
    """Few classes, many predictions, equal scores and times, actions without length or longer than their video."""
    rng = random.Random(seed)
    step, classes, videos, found = rng.choice([0.1, 1.0]), ["a", "b", "c"][: rng.randint(1, 3)], [], {}
    for number in range(rng.randint(1, 4)):
        starts = [round(rng.uniform(0, 50) / step) * step for _ in range(rng.choice([0, 1, 3, 6]))]
        spans = [(start, start + round(rng.choice([0, 1, 5, 20, 70]) * rng.random() / step) * step) for start in starts]
        videos.append(video(f"v{number}", *[(*span, rng.choice(classes)) for span in spans], duration=60.0))
        near = [(start + rng.choice([-1, 0, 1]), end + rng.choice([0, 1, 3])) for start, end in spans * 8]
        near += [(start, start + 4.0) for start in range(0, 50, 5)]
        scores = [rng.choice([0.5, rng.random()]) for _ in near]
        found[f"v{number}"] = [
            Prediction(rng.choice([*classes, "none"]), score, start, max(start, end))
            for (start, end), score in zip(near, scores, strict=True)
        ]
    found["elsewhere"] = [Prediction("a", 0.6, 0, 5)]
    return videos, found


@pytest.mark.parametrize("seed", range(12))
def test_every_number_is_that_of_plain_loops_over_the_definitions(seed: int) -> None:
    videos, found = made_up(seed)
    truths = [Truth(one.id, (act.start_s, act.end_s), act.label) for one in videos for act in one.truth]
    if not truths:
        return
    claims = [
        Claim(name, (one.start_s, one.end_s), one.label, one.score) for name, ones in found.items() for one in ones
    ]
    tious = [0.1, 0.3, 0.5]
    loops, analysis = Analysis(truths, claims, tious), analyse(videos, found, tious, "activitynet")
    about, expected = as_json(analysis), loops.false_positives()
    assert differences({key: about["false_positives"][key] for key in expected}, expected) == []
    assert analysis.base_normalised_map == pytest.approx(loops.normalised_map(set(range(len(truths)))), abs=1e-9)
    for one in analysis.by_bin:
        for place in np.flatnonzero(one.bins.counts):
            members = set(np.flatnonzero(one.bins.places == place).tolist())
            assert one.missed[:, place] == pytest.approx(loops.missed(members), abs=1e-9)
            assert one.normalised_map[place] == pytest.approx(loops.normalised_map(members), abs=1e-9)


@pytest.mark.parametrize(("name", "bins"), RECORDED)
def test_the_order_of_the_videos_changes_no_number(name: str, bins: ErrorBins) -> None:
    videos, found = recorded(name)
    tious = read(f"{name}_expected")["tious"]
    turned = as_json(analyse(videos, dict(reversed(found.items())), tious, bins))
    assert differences(turned, as_json(analyse(videos, found, tious, bins))) == []


def test_each_kind_of_error_is_told_from_the_others() -> None:
    videos = [video("a", (0, 10, "run"), (20, 30, "jump")), video("empty")]
    found = {
        "a": [
            Prediction("run", 0.9, 0, 10),
            Prediction("run", 0.8, 0, 10),
            Prediction("run", 0.7, 20, 30),
            Prediction("run", 0.6, 8, 20),
            Prediction("run", 0.5, 28, 40),
            Prediction("run", 0.4, 40, 50),
        ],
        "empty": [Prediction("run", 0.3, 0, 10)],
        "elsewhere": [Prediction("jump", 0.3, 20, 30)],
    }
    names = kinds_by_video(videos, found, 0.5)
    assert names["a"] == [*kinds.KINDS[:3], "Localization Err", "Confusion Err", "Background Err"]
    # in a video without true actions, or outside the subset, nothing is near
    assert names["empty"] == names["elsewhere"] == ["Background Err"]


def test_a_tiou_at_the_threshold_is_enough() -> None:
    videos = [video("a", (0, 10, "run"))]
    found = {"a": [Prediction("run", 0.9, 0, 5), Prediction("run", 0.8, 0, 1), Prediction("run", 0.7, 0, 0.99)]}
    assert kinds_by_video(videos, found, 0.5)["a"] == ["True Positive", "Localization Err", "Background Err"]


def test_of_equal_scores_the_lowest_row_goes_first() -> None:
    videos = [video("a", (0, 10, "run")), video("b", (0, 10, "run"))]
    same = [Prediction("run", 0.5, 0, 9), Prediction("run", 0.5, 0, 10)]
    assert kinds_by_video(videos, {"a": same, "b": same[::-1]}, 0.5) == {
        "a": ["True Positive", "Double Detection Err"],
        "b": ["True Positive", "Double Detection Err"],
    }
    each = measured(videos, {"b": same, "a": same})["false_positives"]["each"]
    assert [(row[0], row[2]) for row in each] == [("b", 9), ("b", 10), ("a", 9), ("a", 10)]


def test_of_equally_near_true_actions_the_first_says_what_is_wrong() -> None:
    found = {"a": [Prediction("run", 0.9, 0, 10), Prediction("run", 0.8, 0, 10)]}
    both = (0, 10, "jump"), (0, 10, "run")
    assert kinds_by_video([video("a", *both)], found, 0.5)["a"] == ["True Positive", "Wrong Label Err"]
    assert kinds_by_video([video("a", *both[::-1])], found, 0.5)["a"] == ["True Positive", "Double Detection Err"]


def test_predictions_of_classes_without_true_actions_are_not_counted() -> None:
    videos = [video("a", (0, 10, "run"))]
    found = {"a": [Prediction("run", 0.5, 0, 10), Prediction("fly", 0.9, 0, 10)]}
    about = measured(videos, found)
    assert about["classes"] == ["run"]
    assert about["false_positives"]["kept_predictions"] == 1
    assert about["normalised_ap"] == [[1.0]]
    assert kinds_by_video(videos, found, 0.5)["a"] == ["True Positive", "Wrong Label Err"]


def test_without_predictions_everything_is_missed() -> None:
    about = measured([video("a", (0, 10, "run")), video("b")], {})
    assert about["normalised_ap"] == [[0.0]]
    assert about["false_positives"]["kept_predictions"] == 0
    assert set(about["false_positives"]["map_gain"].values()) == {0.0}
    assert about["false_negatives"]["length"]["missed"] == {"M": 1.0}
    assert about["sensitivity"] == {
        "base_normalised_map": 0.0,
        "coverage": {"XL": 0.0},
        "length": {"M": 0.0},
        "num-instances": {"XS": 0.0},
    }


def test_false_positives_are_those_among_the_best_ten_times_as_many_as_there_are_true_actions() -> None:
    """And a match beyond them counts only for what is missed and for the sensitivity."""
    wrong = [Prediction("run", 0.9, 50 + place, 51 + place) for place in range(10)]
    about = measured([video("a", (0, 10, "run"))], {"a": [*wrong, Prediction("run", 0.1, 0, 10)]})
    assert about["false_positives"]["kept_predictions"] == 10
    assert about["false_positives"]["counts"] == {"0.5": dict.fromkeys(kinds.KINDS, 0) | {"Background Err": 10}}
    groups = about["false_positives"]["per_group_of_G"]
    assert groups == [{kind: [int(kind == "Background Err")] for kind in kinds.KINDS}] * 10
    assert about["normalised_ap"] == [[0.0]]
    assert about["sensitivity"]["base_normalised_map"] == pytest.approx(1 / 11)
    assert about["false_negatives"]["length"]["missed"] == {"M": 0.0}


def test_a_match_at_a_precision_of_a_twentieth_finds_nothing() -> None:
    for number, missed in ((18, 0.0), (19, 1.0)):  # 1 / 19 is above 0.05, 1 / 20 is not
        wrong = [Prediction("run", 0.9, 50, 60)] * number
        about = measured([video("a", (0, 10, "run"))], {"a": [*wrong, Prediction("run", 0.1, 0, 10)]})
        assert about["false_negatives"]["length"]["missed"] == {"M": missed}


def test_the_cost_is_what_the_mean_gains_without_the_kind() -> None:
    about = as_json(analyse(*recorded("anet"), [0.5, 0.7], "activitynet"))
    without, gains = about["false_positives"]["ap_without"], about["false_positives"]["map_gain"]
    base = np.mean(about["normalised_ap"])
    assert gains == pytest.approx({kind: np.mean(without[kind]) - base for kind in gains})


def test_edges_belong_to_the_range_below_them_and_times_are_exact_to_the_nanosecond() -> None:
    videos = [video("a", (4.1, 7.1, "run"), (0, 6, "run"), (0, 12.001, "run"), (0, 20, "run"), duration=150.0)]
    coverage, length, instances = bins_of(subset_of(videos, {}), "thumos14")
    assert length.places.tolist() == [0, 1, 3, 4]
    assert coverage.places.tolist() == [0, 1, 4, 4]
    assert instances.places.tolist() == [1, 1, 1, 1]
    over = bins_of(subset_of([video("a", (17.1, 20.1, "run"))], {}), "thumos14")[1]  # 3.0000000000000018 s
    assert over.places.tolist() == [0]


def test_true_actions_without_length_have_no_range_and_those_longer_than_their_video_none_of_coverage() -> None:
    videos = [video("a", (0, 0, "run"), (0, 101, "run"), (0, 100, "run")), video("b", (0, 1, "run"), duration=0.0)]
    coverage, length, instances = bins_of(subset_of(videos, {}), "activitynet")
    assert coverage.places.tolist() == [-1, -1, 4, -1]
    assert length.places.tolist() == [-1, 2, 2, 0]
    assert instances.places.tolist() == [-1, 1, 1, 0]
    about = measured(videos, {"a": [Prediction("run", 0.9, 0, 100)]}, "activitynet")
    assert about["false_negatives"]["coverage"]["share"] == {"XL": 0.25}
    assert about["false_negatives"]["coverage"]["missed"] == {"XL": 0.0}


def test_other_datasets_are_cut_into_fifths() -> None:
    videos = [video("a", *[(0, length, "run") for length in range(1, 11)])]
    coverage, length, instances = bins_of(subset_of(videos, {}), "quintiles")
    assert length.edges == pytest.approx([1, 2.8, 4.6, 6.4, 8.2, 10])
    assert length.counts.tolist() == coverage.counts.tolist() == [2, 2, 2, 2, 2]
    assert (instances.edges, instances.labels, instances.counts.tolist()) == ([10.0, 10.0], ["M"], [10])


def test_fewer_fifths_are_left_where_values_are_equal() -> None:
    lengths = [1, 1, 1, 1, 1, 1, 1, 5, 5, 5]
    _, length, _ = bins_of(subset_of([video("a", *[(0, one, "run") for one in lengths])], {}), "quintiles")
    assert sum(length.counts) == 10
    assert len(length.edges) == len(length.labels) + 1
    assert (length.edges[0], length.edges[-1]) == (1, 5)


@pytest.mark.parametrize(
    ("chosen", "dataset", "bins"),
    [
        (None, "thumos14", "thumos14"),
        (None, "activitynet13", "activitynet"),
        (None, "custom", "quintiles"),
        ("thumos14", "custom", "thumos14"),
        ("quintiles", "thumos14", "quintiles"),
    ],
)
def test_the_dataset_chooses_the_ranges_unless_the_settings_do(
    chosen: ErrorBins | None, dataset: str, bins: ErrorBins
) -> None:
    assert bins_for(chosen, dataset) == bins


def test_a_prediction_is_compared_only_with_the_true_actions_of_its_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that 200,000 predictions are analysed in seconds: pairs are counted, and handled together."""
    calls: list[int] = []

    def counted(first: Any, second: Any) -> Any:
        result = real(first, second)
        calls.append(result.size)
        return result

    real = kinds.iou
    monkeypatch.setattr(kinds, "iou", counted)
    videos = [video(f"v{number}", (0, 10, "run"), (20, 30, "jump")) for number in range(20)]
    found = {one.id: [Prediction("run", 0.5, place, place + 5) for place in range(100)] for one in videos}
    analyse(videos, found, [0.1, 0.3, 0.5], "quintiles")
    assert (len(calls), sum(calls)) == (20, 20 * 100 * 2)


def test_many_pairs_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    videos, found = recorded("thumos")
    whole = as_json(analyse(videos, found, [0.5], "thumos14"))
    monkeypatch.setattr(kinds, "PAIRS_AT_ONCE", 50)
    assert as_json(analyse(videos, found, [0.5], "thumos14")) == whole
