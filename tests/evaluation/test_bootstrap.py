"""Weights in place of copies: under every protocol, the same mAP as that of videos that are really repeated."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actloc.evaluation import bootstrap
from actloc.evaluation.columns import Intervals, PredictionColumns, TruthColumns
from actloc.evaluation.detection import average_precision
from actloc.evaluation.protocols import PROTOCOLS, Protocol
from tests.evaluation.test_detection import FACTS, official, predictions_of, truth_of

TIOUS = [0.3, 0.5, 0.7]
NUM_VIDEOS = 6
_MOST_COPIES = 100


def copied(rows: Any, times: NDArray[Any]) -> Any:
    """Columns with each video as often as `times` says; the copies of a video follow each other, in its own order."""
    order = [(int(video), copy, place) for place, video in enumerate(rows.videos) for copy in range(times[video])]
    order.sort()
    places = np.array([place for _, _, place in order], dtype=int)
    names = [name for name in vars(rows) if name not in ("videos", "ambiguous")]
    columns = {name: getattr(rows, name)[places] for name in names}
    return replace(rows, videos=np.array([_MOST_COPIES * video + copy for video, copy, _ in order], int), **columns)


def really_repeated(
    truth: TruthColumns, predictions: PredictionColumns, times: NDArray[Any], protocol: Protocol
) -> list[float]:
    """mAP at each tIoU by the evaluator of the whole set; nan without true actions."""
    unclear = truth.ambiguous
    rows = [
        (_MOST_COPIES * video + copy, start, end, 0)
        for video, start, end in zip(unclear.videos, unclear.starts_s, unclear.ends_s, strict=True)
        for copy in range(times[video])
    ]
    again = truth_of(rows)
    repeated = replace(copied(truth, times), ambiguous=Intervals(again.videos, again.starts_s, again.ends_s))
    if not len(repeated):
        return [float("nan")] * len(TIOUS)
    return average_precision(repeated, copied(predictions, times), TIOUS, protocol).mean(axis=1).tolist()


def random_case(seed: int) -> tuple[TruthColumns, PredictionColumns]:
    """Few scores and few places, so that there are ties, repeats and overlaps of every kind."""
    random = np.random.default_rng(seed)

    def segments(number: int) -> tuple[Any, ...]:
        starts = random.integers(0, 12, number)
        return random.integers(0, NUM_VIDEOS, number), starts, starts + random.integers(0, 6, number)

    videos, starts, ends = segments(10)
    labels = random.choice([0, 2, 5], 10)
    truth = truth_of(list(zip(videos, starts, ends, labels, strict=True)))
    at, begin, end = segments(4)
    truth = replace(truth, ambiguous=Intervals(at.astype(int), begin.astype(float), end.astype(float)))
    videos, starts, ends = segments(60)
    rows = zip(np.sort(videos), starts, ends, random.integers(0, 6, 60), random.integers(1, 5, 60) / 5, strict=True)
    return truth, predictions_of(list(rows))


@pytest.mark.parametrize("name", PROTOCOLS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_counting_a_video_several_times_is_the_same_as_repeating_it(name: str, seed: int) -> None:
    protocol = PROTOCOLS[name]
    truth, predictions = random_case(seed)
    times = bootstrap.draws(NUM_VIDEOS, 8, seed)
    found = bootstrap.mean_aps(truth, predictions, TIOUS, times, protocol)
    for number in range(8):
        expected = really_repeated(truth, predictions, times[:, number], protocol)
        np.testing.assert_allclose(found[:, number], expected, atol=1e-12, rtol=0)


def test_draws_are_those_of_as_many_videos_as_there_are_and_the_same_each_time() -> None:
    times = bootstrap.draws(40)
    assert times.shape == (40, bootstrap.NUM_DRAWS)
    assert (times.sum(axis=0) == 40).all()
    assert times.max() > 3
    assert abs((times == 0).mean() - np.exp(-1)) < 0.02
    np.testing.assert_array_equal(times, bootstrap.draws(40))
    assert (times != bootstrap.draws(40, seed=1)).any()


def test_videos_outside_the_subset_count_once_in_every_draw() -> None:
    times = bootstrap.times_of(["a", "b", "c", "d"], {"a", "c", "d"})
    assert (times[1] == 1).all()
    np.testing.assert_array_equal(times[[0, 2, 3]], bootstrap.draws(3))


def test_a_class_absent_from_a_draw_is_left_out_of_its_mean_and_a_draw_without_actions_has_none() -> None:
    truth = truth_of([(0, 0, 10, 0), (1, 0, 10, 1)])
    predictions = predictions_of([(0, 0, 10, 0, 0.9), (1, 50, 60, 1, 0.8), (2, 0, 9, 0, 0.7)])
    times = np.array([[1, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 3]], dtype=np.int32)
    found = bootstrap.mean_aps(truth, predictions, [0.5], times)
    np.testing.assert_array_equal(found, [[0.5, 1.0, 0.0, np.nan]])
    values = np.vstack([np.append(np.arange(1001) / 1000, np.nan), np.full(1002, np.nan)])
    assert bootstrap.intervals(values) == [pytest.approx((0.025, 0.975)), None]


@pytest.mark.parametrize("name", FACTS)
def test_every_video_once_gives_the_official_number(name: str) -> None:
    facts, arrays, truth, predictions = official(name)
    # there, unknown videos have the number -1
    predictions = replace(predictions, videos=np.where(predictions.videos < 0, 999, predictions.videos))
    ones = np.ones((1000, 1), dtype=np.int32)
    found = bootstrap.mean_aps(truth, predictions, facts["tiou"], ones)
    np.testing.assert_allclose(found[:, 0], arrays["ap_stable"].mean(axis=1), atol=1e-12, rtol=0)


def test_many_classes_at_a_time_and_one_after_the_other_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, predictions = random_case(7)
    times = bootstrap.draws(NUM_VIDEOS, 50)
    whole = bootstrap.mean_aps(truth, predictions, TIOUS, times)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 100)
    np.testing.assert_array_equal(bootstrap.mean_aps(truth, predictions, TIOUS, times), whole)


def made_up(num_videos: int, num_classes: int, per_video: int, truths: int) -> tuple[TruthColumns, PredictionColumns]:
    """As many of each as a data set has, a third of the predictions near true actions."""
    random = np.random.default_rng(0)
    starts = random.uniform(0, 100, truths)
    videos, labels = random.integers(0, num_videos, truths), random.integers(0, num_classes, truths)
    labels[:num_classes] = np.arange(num_classes)
    truth = TruthColumns(videos, starts, starts + random.uniform(2, 20, truths), labels)
    number = num_videos * per_video
    near = random.integers(0, truths, number)
    is_near = random.random(number) < 1 / 3
    begins = np.where(is_near, truth.starts_s[near], random.uniform(0, 100, number)) + random.normal(0, 1, number)
    ends = np.where(is_near, truth.ends_s[near], begins + 10) + random.normal(0, 1, number)
    at = np.where(is_near, videos[near], np.repeat(np.arange(num_videos), per_video))
    named = np.where(is_near, labels[near], random.integers(0, num_classes, number))
    return truth, PredictionColumns(at, begins, ends, named, random.random(number) / 2 + is_near * 0.3)


def test_a_set_of_the_size_of_thumos14_takes_little_time() -> None:
    truth, predictions = made_up(212, 20, 200, 3358)
    began = time.process_time()
    found = bootstrap.mean_aps(truth, predictions, [0.3, 0.4, 0.5, 0.6, 0.7], bootstrap.draws(212))
    # about a second; the bound is for busy and slow machines, and ten times less than with copies
    assert time.process_time() - began < 20
    (low, high), *_ = bootstrap.intervals(found)
    once = average_precision(truth, predictions, [0.3]).mean()
    assert low < once < high
