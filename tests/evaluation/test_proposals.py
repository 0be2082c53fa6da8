"""Average recall of proposals, worked out by hand."""

import numpy as np
import pytest

from actloc.evaluation.columns import PredictionColumns, TruthColumns
from actloc.evaluation.proposals import ProposalRecall, proposal_recall

Row = tuple[int, float, float]


def measured(
    truth: list[Row], found: list[tuple[int, float, float, float]], tious: list[float], numbers: list[int]
) -> ProposalRecall:
    """For actions (video, start, end), and segments with their score; classes are numbered in turn."""
    videos, starts, ends = np.array(truth, dtype=float).T
    actions = TruthColumns(videos.astype(int), starts, ends, np.arange(len(truth)))
    videos, starts, ends, scores = np.array(found, dtype=float).reshape(-1, 4).T
    return proposal_recall(
        actions, PredictionColumns(videos.astype(int), starts, ends, np.arange(len(found)), scores), tious, numbers
    )


def test_each_action_counts_from_the_first_segment_on_that_overlaps_it_enough() -> None:
    truth = [(0, 0, 10), (0, 20, 30), (1, 0, 10)]
    found = [
        (0, 0, 8, 0.9),  # tIoU 0.8 with the first action
        (0, 40, 50, 0.8),
        (0, 20, 29, 0.7),  # 0.9 with the second
        (0, 0, 10, 0.6),
        (1, 5, 20, 0.9),  # 0.25
        (1, 0, 6, 0.3),  # 0.6
        (1, 60, 70, 0.2),
        (1, 60, 80, 0.1),
    ]
    result = measured(truth, found, [0.5, 0.75, 1.0], [1, 2, 4])
    assert result.recall == [
        pytest.approx([1 / 3, 1 / 3, 0]),
        pytest.approx([2 / 3, 1 / 3, 0]),
        pytest.approx([1, 2 / 3, 1 / 3]),
    ]
    # with 3: 3/3, 2/3 and 0; the trapezoids between 1, 2, 3 and 4, divided by 4
    curves = [[1 / 3, 2 / 3, 1, 1], [1 / 3, 1 / 3, 2 / 3, 2 / 3], [0, 0, 0, 1 / 3]]
    assert result.areas == pytest.approx([sum(c[:3] + c[1:]) / 8 for c in curves])
    assert [name for name, _ in result.rows()] == ["AR@1", "AR@2", "AR@4", "AUC"]


def test_a_video_with_more_segments_gets_more_of_the_mean_number() -> None:
    # 2 videos and 8 segments: with N = 1 on average, 2 of all 8, that is a quarter of each video's 6 and 2
    right = [(0, 0.0, 10.0)]
    others = [(0, 100.0 + place, 101.0 + place, 0.9 - 0.1 * place) for place in range(5)]
    of_second = [(1, 0.0, 10.0, 0.9), (1, 50.0, 60.0, 0.8)]
    found = [*others, (0, 0.0, 10.0, 0.05), *of_second]
    result = measured([*right, (1, 0, 10)], found, [0.5], [1, 2, 3, 4])
    # of the first video 6 * 2 / 8 = 1, 3, 4 and 6 segments, of the second 0, 1, 1 and 2
    assert [row[0] for row in result.recall] == [0, 0.5, 0.5, 1]


def test_videos_without_actions_do_not_count_and_those_without_segments_are_missed() -> None:
    found = [(0, 0, 10, 0.5), (7, 0, 10, 0.9), (7, 1, 10, 0.9)]
    result = measured([(0, 0, 10), (1, 0, 10)], found, [0.5], [1, 100])
    assert result.recall == [[0.5], [0.5]]
    assert measured([(0, 0, 10)], [], [0.5], [1]).rows() == [("AR@1", [0.0]), ("AUC", [None])]


def test_a_segment_with_several_classes_counts_once_with_its_best_score() -> None:
    found = [(0, 50, 60, 0.9), (0, 50, 60, 0.7), (0, 0, 10, 0.1), (0, 0, 10, 0.8)]
    assert measured([(0, 0, 10)], found, [0.5], [1, 2]).recall == [[0], [1]]


def test_of_a_hundred_segments_each_the_best_n_of_every_video_count() -> None:
    generator = np.random.default_rng(0)
    truth = [(video, start, start + 10) for video in range(6) for start in (0.0, 30.0, 60.0)]
    starts, lengths = generator.uniform(0, 80, (6, 100)), generator.uniform(1, 30, (6, 100))
    scores = generator.permutation(600).reshape(6, 100) / 600
    found = [
        (video, starts[video, row], starts[video, row] + lengths[video, row], scores[video, row])
        for video in range(6)
        for row in range(100)
    ]
    numbers, tious = [1, 5, 29, 57, 100], [0.5, 0.7]  # 100 * 0.29 and 100 * 0.57 are below 29 and 57 in floats
    expected = []
    for number in numbers:
        covered = np.zeros(len(tious))
        for video, start, end in truth:
            best = np.argsort(-scores[video])[:number]
            left, right = starts[video, best], starts[video, best] + lengths[video, best]
            shared = np.clip(np.minimum(right, end) - np.maximum(left, start), 0, None)
            tiou = (shared / (right - left + end - start - shared)).max()
            covered += tiou >= np.array(tious)
        expected.append((covered / len(truth)).tolist())
    np.testing.assert_allclose(measured(truth, found, tious, numbers).recall, expected)
    assert expected[0] != expected[-1]
