import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actloc.ops.segments import iou

SEGMENTS = st.tuples(st.floats(-1000, 1000), st.floats(0.001, 1000)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(SEGMENTS, SEGMENTS)
def test_overlap_is_symmetric_and_between_zero_and_one(first: tuple[float, float], second: tuple[float, float]) -> None:
    one, other = np.array(first), np.array(second)
    assert iou(one, other) == iou(other, one)
    assert 0 <= iou(one, other) <= 1
    assert iou(one, one) == 1


def test_overlap_of_known_segments() -> None:
    found = iou(np.array([[0.0, 4.0], [5.0, 6.0]])[:, None], np.array([[2.0, 6.0], [0.0, 4.0], [4.0, 5.0]]))
    np.testing.assert_allclose(found, [[1 / 3, 1, 0], [0.25, 0, 0]])


def test_two_segments_without_length_have_no_overlap_to_speak_of() -> None:
    assert np.isnan(iou(np.array([1.0, 1.0]), np.array([1.0, 1.0])))
