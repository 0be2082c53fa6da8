import numpy as np
import pytest

from actloc.evaluation.scored_windows import ScoredWindows

WINDOWS = ScoredWindows(  # centres 1, 2, 3 and 7; the second row is the last in time
    np.array([[0.0, 2.0], [6.0, 8.0], [1.0, 3.0], [2.0, 4.0]]),
    np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]]),
)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ((0.5, 2.5), [0.7, 0.3]),  # two centres inside
        ((1.0, 3.0), [0.6, 0.4]),  # centres on both ends count as inside
        ((0.0, 9.0), [0.5, 0.5]),
        ((1.9, 2.1), [0.5, 0.5]),  # one
        ((3.5, 4.5), [0.4, 0.6]),  # none: the centre 3 is 1 s away, 7 is 3 s away
        ((5.5, 6.5), [0.2, 0.8]),
        ((4.5, 5.5), [0.4, 0.6]),  # 3 and 7 are both 2 s away: the earlier
        ((20.0, 30.0), [0.2, 0.8]),
        ((1.5, 1.5), [0.9, 0.1]),  # a segment of no length between 1 and 2
    ],
)
def test_a_segment_has_the_mean_of_the_windows_centred_inside_or_the_nearest_windows_scores(
    segment: tuple[float, float], expected: list[float]
) -> None:
    both = WINDOWS.of(np.array([segment, (0.0, 2.4)]))
    np.testing.assert_allclose(both, [expected, [0.7, 0.3]], rtol=0, atol=1e-15)


def test_equally_near_windows_stay_so_in_spite_of_rounding() -> None:
    segments = np.array([[0.5, 0.7], [0.1, 0.3]])
    windows = ScoredWindows(segments, np.eye(2))
    middle = np.array([[0.4, 0.4]])
    distances = np.abs(segments.mean(axis=1) - 0.4)
    assert distances[0] < distances[1]  # as the numbers are stored, the later one is nearer
    assert windows.of(middle).tolist() == [[0.0, 1.0]]


def test_of_windows_with_one_centre_the_one_that_starts_first_is_the_earlier() -> None:
    windows = ScoredWindows(np.array([[2.0, 4.0], [1.0, 5.0]]), np.eye(2))
    assert windows.of(np.array([[8.0, 9.0]])).tolist() == [[0.0, 1.0]]


def test_a_video_has_the_mean_of_the_best_windows_of_each_class() -> None:
    np.testing.assert_allclose(WINDOWS.of_video(1), [0.9, 0.8])
    np.testing.assert_allclose(WINDOWS.of_video(2), [0.7, 0.7])
    np.testing.assert_allclose(WINDOWS.of_video(99), [0.5, 0.5])
