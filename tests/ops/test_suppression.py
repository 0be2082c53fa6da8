import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actloc.ops import suppression
from actloc.ops.local_contest import LocalContest
from actloc.ops.suppression import (
    MANY,
    hard_suppression,
    hard_suppression_per_class,
    soft_suppression,
    soft_suppression_per_class,
    vote,
    weighted_suppression,
    weighted_suppression_per_class,
)
from tests.golden.cases import GOLDEN

FACTS = json.loads((GOLDEN / "nms.json").read_text())
with np.load(GOLDEN / "nms.npz") as _file:
    ARRAYS = dict(_file)
RULE = {"sigma": 0.5, "min_score": 0.001}


def suppressed(options: dict[str, Any], *candidates: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Indices and scores that the rule of a fixture keeps of segments, scores and labels."""
    limits = {"min_score": options["min_score"], "max_kept": options["max_seg_num"]}
    if options["use_soft_nms"]:
        rule = {"sigma": options["sigma"], **limits}
        return (soft_suppression_per_class if options["multiclass"] else _soft)(*candidates, **rule)
    rule = {"tiou": options["iou_threshold"], **limits}
    return (hard_suppression_per_class if options["multiclass"] else _hard)(*candidates, **rule)


def _soft(segments: NDArray[Any], scores: NDArray[Any], _: NDArray[Any], **rule: Any) -> Any:
    return soft_suppression(segments, scores, **rule)


def _hard(segments: NDArray[Any], scores: NDArray[Any], _: NDArray[Any], **rule: Any) -> Any:
    return hard_suppression(segments, scores, **rule)


@pytest.mark.parametrize("case", FACTS["cases"], ids=lambda case: case["key"])
def test_what_is_kept_is_what_the_official_code_keeps(case: dict[str, Any]) -> None:
    options = FACTS["params"][case["params"]]
    segments, scores, labels = (ARRAYS[f"{case['input']}_{part}"] for part in ("segs", "scores", "labels"))
    indices, final_scores = suppressed(options, segments, scores, labels)
    kept = segments[indices]
    if not options["multiclass"] and options["voting_thresh"] > 0:
        kept = vote(kept, segments, scores, options["voting_thresh"])
    expected = {part: ARRAYS[f"{case['key']}_{part}_stable"] for part in ("segs", "scores", "labels")}
    np.testing.assert_array_equal(labels[indices], expected["labels"])
    np.testing.assert_allclose(final_scores, expected["scores"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(kept, expected["segs"], atol=1e-5, rtol=2 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", sorted({case["input"] for case in FACTS["cases"]} - {"big2000x20", "empty"}))
def test_hard_picks_are_those_of_the_official_extension(name: str) -> None:
    segments, scores = ARRAYS[f"{name}_segs"], ARRAYS[f"{name}_scores"]
    indices, _ = hard_suppression(
        segments, scores, tiou=FACTS["op_params"]["iou_threshold"], min_score=0, max_kept=len(scores)
    )
    np.testing.assert_array_equal(indices, ARRAYS[f"{name}__op_hard_inds_stable"])


@pytest.mark.parametrize("name", sorted({case["input"] for case in FACTS["cases"]} - {"big2000x20", "empty"}))
def test_the_picks_are_those_of_the_official_extension(name: str) -> None:
    options = FACTS["op_params"]
    segments, scores = ARRAYS[f"{name}_segs"], ARRAYS[f"{name}_scores"]
    indices, lowered = soft_suppression(
        segments, scores, sigma=options["sigma"], min_score=options["min_score"], max_kept=len(scores)
    )
    expected = ARRAYS[f"{name}__op_soft_gaussian_dets"]  # start, end, score
    np.testing.assert_allclose(np.column_stack((segments[indices], lowered)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("number", [30, 400])
def test_few_candidates_are_picked_as_one_at_a_time_with_fewer_calls(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    starts, labels = generator.random(number) * 200, generator.integers(3, size=number)
    segments = np.stack((starts, starts + generator.exponential(20, number)), axis=1).astype(np.float32)
    scores = generator.random(number, dtype=np.float32)
    calls: list[int] = []
    factors = suppression._Contest._factors
    monkeypatch.setattr(suppression._Contest, "_factors", lambda *given: (calls.append(1), factors(*given))[1])
    found = []
    for few in (suppression.FEW, 0):
        monkeypatch.setattr(suppression, "FEW", few)
        found.append(soft_suppression_per_class(segments, scores, labels, sigma=0.05, min_score=0.001, max_kept=100))
        found[-1] += (len(calls),)
        calls.clear()
    (indices, kept, num_ahead), (expected, expected_scores, num_one) = found
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(kept, expected_scores)
    assert num_one == len(expected)
    assert num_ahead <= num_one / 4


def direct(segments: NDArray[Any], scores: NDArray[Any], sigma: float, min_score: float) -> list[tuple[int, float]]:
    """The definition, one candidate at a time, in float64."""
    left = dict(enumerate(scores.astype(float)))
    lengths = segments[:, 1] - segments[:, 0] + 1e-6
    kept: list[tuple[int, float]] = []
    while left:
        best = max(left, key=lambda index: (left[index], -index))
        kept.append((best, left.pop(best)))
        for index in list(left):
            low, high = (
                np.maximum(segments[best, 0], segments[index, 0]),
                np.minimum(segments[best, 1], segments[index, 1]),
            )
            shared = max(0.0, float(high - low))
            left[index] *= np.exp(-((shared / (lengths[best] + lengths[index] - shared)) ** 2) / sigma)
            if left[index] < min_score:
                del left[index]
    return kept


def official_loop(segments: NDArray[Any], scores: NDArray[Any], sigma: float, min_score: float) -> list[int]:
    """Indices in the order in which the official loop picks: it swaps, and fills the places of those it drops."""
    rows = [(*segment, segment[1] - segment[0] + np.float32(1e-6), i) for i, segment in enumerate(segments)]
    left, place = scores.tolist(), 0
    while place < len(rows):
        best = place + int(np.argmax(np.float32(left[place:])))
        rows[place], rows[best] = rows[best], rows[place]
        left[place], left[best] = left[best], left[place]
        start, end, length, _ = rows[place]
        other = place = place + 1
        while other < len(rows):
            shared = np.maximum(np.minimum(rows[other][1], end) - np.maximum(rows[other][0], start), np.float32(0))
            overlap = shared / (rows[other][2] + length - shared)
            left[other] = np.float32(left[other]) * np.exp(np.float32([overlap * overlap / np.float32(-sigma)]))[0]
            if left[other] < np.float32(min_score):
                rows[other], left[other] = rows[-1], left[-1]
                rows.pop()
                left.pop()
            else:
                other += 1
    return [row[3] for row in rows]


TIED_CANDIDATES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=300)
@given(TIED_CANDIDATES, st.sampled_from([0.001, 0.02]))
def test_equal_scores_are_picked_in_the_order_of_the_official_loop(
    rows: list[tuple[int, int, int, int]], min_score: float
) -> None:
    segments, scores, labels = arrays_of(rows)
    rule = {"sigma": 0.1, "min_score": min_score}
    indices, _ = soft_suppression(segments, scores, **rule, max_kept=len(rows))
    assert indices.tolist() == official_loop(segments, scores, **rule)
    indices, _ = soft_suppression_per_class(segments, scores, labels, **rule, max_kept=len(rows))
    for label in range(3):
        members = np.flatnonzero(labels == label)
        expected = members[official_loop(segments[members], scores[members], **rule)].tolist() if len(members) else []
        assert [index for index in indices.tolist() if labels[index] == label] == expected


def test_candidates_too_many_to_look_for_equal_scores_are_picked_in_that_order_too() -> None:
    generator = np.random.default_rng(0)
    starts = generator.integers(0, 300, 2500).astype(np.float32)
    segments = np.stack((starts, starts + generator.integers(1, 9, 2500)), axis=1).astype(np.float32)
    scores = (generator.integers(1, 50, 2500) / 100).astype(np.float32)
    assert len(scores) > MANY
    indices, _ = soft_suppression(segments, scores, sigma=0.01, min_score=0.2, max_kept=2500)
    assert indices.tolist() == official_loop(segments, scores, 0.01, 0.2)


CANDIDATES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20), st.integers(1, 99), st.integers(0, 2)),
    min_size=1,
    max_size=25,
    unique_by=lambda row: row[2],
)


def arrays_of(rows: list[tuple[int, int, int, int]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    table = np.array(rows)
    segments = np.stack((table[:, 0], table[:, 0] + table[:, 1]), axis=1).astype(np.float32)
    return segments, (table[:, 2] / 100).astype(np.float32), table[:, 3]


@settings(deadline=None)
@given(CANDIDATES)
def test_early_stopping_changes_nothing(rows: list[tuple[int, int, int, int]]) -> None:
    segments, scores, _ = arrays_of(rows)
    _, lowered = soft_suppression(segments, scores, **RULE, max_kept=5)
    expected = direct(segments, scores, **RULE)[:5]
    np.testing.assert_allclose(lowered, [score for _, score in expected], atol=1e-6)


@settings(deadline=None)
@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(rows: list[tuple[int, int, int, int]], random: Any) -> None:
    results = []
    for _ in range(2):
        segments, scores, labels = arrays_of(rows)
        indices, lowered = soft_suppression_per_class(segments, scores, labels, **RULE, max_kept=10)
        results.append(sorted(zip(lowered.tolist(), segments[indices].tolist(), labels[indices].tolist(), strict=True)))
        random.shuffle(rows)
    assert [row[0] for row in results[0]] == pytest.approx([row[0] for row in results[1]], abs=1e-6)


def test_of_equal_scores_that_nothing_moved_the_lowest_index_and_the_lowest_class_come_first() -> None:
    segments = np.array([[0, 1], [2, 3], [4, 5], [6, 7]], dtype=np.float32)
    scores = np.full(4, 0.5, dtype=np.float32)
    assert soft_suppression(segments, scores, **RULE, max_kept=3)[0].tolist() == [0, 1, 2]
    labels = np.array([1, 0, 1, 0])
    assert soft_suppression_per_class(segments, scores, labels, **RULE, max_kept=3)[0].tolist() == [1, 3, 0]


def test_the_first_pick_stands_even_below_the_smallest_score() -> None:
    segments, scores = np.array([[0, 1], [5, 6]], dtype=np.float32), np.array([0.1, 0.2], dtype=np.float32)
    assert soft_suppression(segments, scores, sigma=0.5, min_score=0.3, max_kept=9)[0].tolist() == [1]


def test_a_narrow_gaussian_that_lowers_scores_to_zero_picks_nothing_twice() -> None:
    segments = np.array([[0, 10]] * 5, dtype=np.float32)
    scores = np.linspace(0.1, 0.9, 5, dtype=np.float32)
    indices, lowered = soft_suppression(segments, scores, sigma=1e-3, min_score=0.0, max_kept=9)
    assert sorted(indices.tolist()) == [0, 1, 2, 3, 4]
    assert lowered.tolist() == [pytest.approx(0.9), 0, 0, 0, 0]


def test_hard_suppression_drops_what_overlaps_a_better_segment_of_its_class_by_just_enough() -> None:
    segments = np.array([[0, 10], [5, 15], [6, 16], [0, 10]], dtype=np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32), np.array([0, 0, 0, 1])
    rule = {"tiou": 0.33, "min_score": 0.1, "max_kept": 9}
    assert hard_suppression(segments, scores, **rule)[0].tolist() == [0, 2]
    assert hard_suppression_per_class(segments, scores, labels, **rule)[0].tolist() == [0, 2, 3]


@settings(deadline=None)
@given(CANDIDATES)
def test_hard_suppression_twice_is_hard_suppression_once(rows: list[tuple[int, int, int, int]]) -> None:
    segments, scores, labels = arrays_of(rows)
    rule = {"tiou": 0.3, "min_score": 0.05, "max_kept": 12}
    once, _ = hard_suppression_per_class(segments, scores, labels, **rule)
    twice, _ = hard_suppression_per_class(segments[once], scores[once], labels[once], **rule)
    assert twice.tolist() == list(range(len(once)))


def test_hard_suppression_keeps_only_scores_above_a_smallest_score_that_is_not_zero() -> None:
    segments, scores = np.array([[0, 1], [5, 6]], dtype=np.float32), np.array([0.0, 0.25], dtype=np.float32)
    assert hard_suppression(segments, scores, tiou=0.5, min_score=0, max_kept=9)[0].tolist() == [1, 0]
    assert hard_suppression(segments, scores, tiou=0.5, min_score=0.25, max_kept=9)[0].tolist() == []


def test_nothing_to_suppress_gives_nothing() -> None:
    segments, scores = np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.float32)
    for indices, lowered in (
        soft_suppression(segments, scores, **RULE, max_kept=9),
        soft_suppression_per_class(segments, scores, np.zeros(0, dtype=np.int64), **RULE, max_kept=9),
        hard_suppression(segments, scores, tiou=0.5, min_score=0.1, max_kept=9),
        hard_suppression_per_class(segments, scores, np.zeros(0, np.int64), tiou=0.5, min_score=0.1, max_kept=9),
    ):
        assert len(indices) == len(lowered) == 0
    indices, means, kept = weighted_suppression(segments, scores, tiou=0.5, min_score=0.1, max_kept=9)
    assert (indices.shape, means.shape, kept.shape) == ((0,), (0, 2), (0,))
    assert vote(segments, segments, scores, 0.5).shape == (0, 2)


def test_voting_moves_a_segment_to_the_mean_of_those_that_overlap_it_enough() -> None:
    segments = np.array([[0, 10], [0, 8], [20, 30]], dtype=np.float32)
    scores = np.array([0.5, 0.25, 1.0], dtype=np.float32)
    np.testing.assert_allclose(vote(segments[:1], segments, scores, 0.7), [[0, (0.5 * 10 + 0.2 * 8) / 0.7]], rtol=1e-6)
    assert np.isnan(vote(np.array([[5, 5]], dtype=np.float32), segments, scores, 0.7)).all()


@pytest.mark.parametrize(("suffix", "min_score", "max_kept"), [("", 0.005, 1200), ("_thr03_max50", 0.3, 50)])
def test_weighted_suppression_keeps_what_the_official_code_keeps(suffix: str, min_score: float, max_kept: int) -> None:
    with np.load(GOLDEN / "tallformer" / "thumos_post.npz") as file:
        segments, every, expected, labels = (
            file[name] for name in ("segments", "scores", f"dets{suffix}", f"labels{suffix}")
        )
    anchors, classes = np.nonzero(every > 0.005)
    indices, means, scores = weighted_suppression_per_class(
        segments[anchors], every[anchors, classes], classes, tiou=0.5, min_score=min_score, max_kept=max_kept
    )
    np.testing.assert_array_equal(classes[indices], labels)
    np.testing.assert_array_equal(scores, expected[:, 2])
    np.testing.assert_allclose(means, expected[:, :2], atol=1e-6 * segments.max(), rtol=0)


def directly_weighted(
    segments: NDArray[Any], scores: NDArray[Any], tiou: float, min_score: float
) -> list[tuple[int, tuple[float, float]]]:
    """The definition, one candidate at a time: the best index of each cluster and its mean."""
    left = [index for index in range(len(scores)) if scores[index] > min_score]
    clusters = []
    while left:
        best = max(left, key=lambda index: (scores[index], -index))
        weights = {}
        for index in left:
            low, high = (
                np.maximum(segments[best, 0], segments[index, 0]),
                np.minimum(segments[best, 1], segments[index, 1]),
            )
            shared = max(0.0, float(high - low))
            lengths = float(segments[best, 1] - segments[best, 0] + segments[index, 1] - segments[index, 0])
            overlap = 1.0 if index == best else shared / (lengths - shared)
            if overlap >= tiou:
                weights[index] = float(scores[index]) * overlap
        total = sum(weights.values())
        ends = [sum(weight * float(segments[index, end]) for index, weight in weights.items()) for end in (0, 1)]
        clusters.append((best, (ends[0] / total, ends[1] / total)))
        left = [index for index in left if index not in weights]
    return clusters


@settings(deadline=None, max_examples=200)
@given(CANDIDATES, st.sampled_from([0.31, 0.47, 0.97]), st.sampled_from([0.0, 0.2]), st.integers(1, 12))
def test_weighted_suppression_does_what_it_says(
    rows: list[tuple[int, int, int, int]], tiou: float, min_score: float, max_kept: int
) -> None:
    segments, scores, labels = arrays_of(rows)
    rule = {"tiou": tiou, "min_score": min_score}
    found = weighted_suppression(segments, scores, **rule, max_kept=max_kept)
    expected = directly_weighted(segments, scores, **rule)[:max_kept]
    assert found[0].tolist() == [index for index, _ in expected]
    np.testing.assert_allclose(found[1].ravel(), np.ravel([mean for _, mean in expected]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[2], scores[found[0]])

    clusters = []
    for label in range(3):
        members = np.flatnonzero(labels == label)
        clusters += [
            (members[index], mean) for index, mean in directly_weighted(segments[members], scores[members], **rule)
        ]
    best = sorted(clusters, key=lambda cluster: -scores[cluster[0]])[:max_kept]
    found = weighted_suppression_per_class(segments, scores, labels, **rule, max_kept=max_kept)
    assert found[0].tolist() == [index for index, _ in best]
    np.testing.assert_allclose(found[1].ravel(), np.ravel([mean for _, mean in best]), rtol=1e-5, atol=1e-5)


def test_of_equal_scores_weighted_suppression_takes_the_lowest_index_and_the_lowest_class_first() -> None:
    segments = np.array([[0, 1], [2, 3], [4, 5], [6, 7]], dtype=np.float32)
    scores, labels = np.full(4, 0.5, dtype=np.float32), np.array([1, 0, 1, 0])
    rule = {"tiou": 0.5, "min_score": 0.0}
    assert weighted_suppression(segments, scores, **rule, max_kept=3)[0].tolist() == [0, 1, 2]
    assert weighted_suppression_per_class(segments, scores, labels, **rule, max_kept=3)[0].tolist() == [1, 3, 0]


def test_segments_without_length_are_clusters_of_their_own() -> None:
    segments, scores = np.array([[4, 4], [4, 4], [3, 5]], dtype=np.float32), np.array([0.9, 0.8, 0.7], dtype=np.float32)
    indices, means, _ = weighted_suppression(segments, scores, tiou=0.5, min_score=0.0, max_kept=9)
    assert indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(means, segments)


def test_soft_suppression_without_classes_gives_the_scores_of_tallformers_code() -> None:
    with np.load(GOLDEN / "tallformer" / "anet_softnms.npz") as arrays:
        candidates, expected = arrays["segments"], arrays["result"]
    # officially the last one that is left is not listed, and the order is that of the candidates
    indices, scores = soft_suppression(candidates[:, :2], candidates[:, 2], sigma=0.85, min_score=1e-9, max_kept=5000)
    assert sorted(indices) == list(range(60))
    assert scores.tolist() == sorted(scores, reverse=True)
    listed = np.argsort(indices[:-1], kind="stable")
    np.testing.assert_array_equal(candidates[indices[:-1]][listed, :2], expected[:, :2])
    np.testing.assert_allclose(scores[:-1][listed], expected[:, 2], rtol=2e-5, atol=0)


def long_video(number: int, digits: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Segments, scores and labels; few digits make many equal ones."""
    draw = np.random.default_rng(0)
    starts = np.round(draw.uniform(0, number / 4, number), digits)
    ends = starts + np.round(draw.exponential(12, number), digits)
    scores = np.round(draw.random(number) ** 3, digits + 2)
    return np.stack((starts, ends), axis=1).astype(np.float32), scores.astype(np.float32), draw.integers(0, 3, number)


@pytest.mark.parametrize("digits", [0, 6])
@pytest.mark.parametrize("min_score", [0.001, 0.2])
@pytest.mark.parametrize("sigma", [0.5, 0.005])
def test_of_very_many_candidates_the_same_are_kept(
    monkeypatch: pytest.MonkeyPatch, digits: int, min_score: float, sigma: float
) -> None:
    candidates, rule = long_video(1000, digits), {"sigma": sigma, "min_score": min_score, "max_kept": 1000}
    monkeypatch.setattr(suppression, "MANY", 0)  # with the places of the official loop
    expected = soft_suppression_per_class(*candidates, **rule)
    monkeypatch.setattr(suppression, "VERY_MANY", 0)
    for found, wanted in zip(soft_suppression_per_class(*candidates, **rule), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_among_very_many_candidates_a_pick_looks_at_its_surroundings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "VERY_MANY", 0)
    looked_at: list[int] = []
    lower = LocalContest._lower

    def counting(self: LocalContest, best: int, near: slice) -> None:
        looked_at.append(near.stop - near.start)
        lower(self, best, near)

    monkeypatch.setattr(LocalContest, "_lower", counting)
    sums = []
    for number in (1000, 2000):
        looked_at.clear()
        soft_suppression(*long_video(number, 6)[:2], **RULE, max_kept=number // 4)
        sums.append(sum(looked_at))
    assert sums[1] < 2.5 * sums[0]
