"""What `predict` says of a video without any segment that reaches the threshold of its class."""

import pytest

from actloc.evaluation.predictions import Prediction
from actloc.localization.predicting import below_threshold


def said(*scores: float, threshold: float = 0.49) -> str:
    return below_threshold([Prediction("a", score, 0.0, 1.0) for score in scores], {"a": threshold})


def test_the_best_segment_is_named_with_a_threshold_that_shows_it() -> None:
    assert said(0.477, threshold=0.493) == (
        "1 segment below the threshold (0.48 < 0.49): prediction.threshold=0.4 shows it"
    )
    assert said(0.41, 0.48, 0.1) == (
        "3 segments below the threshold (the best: 0.48 < 0.49): prediction.threshold=0.4 shows 2 of them"
    )
    assert said(0.41, 0.48).endswith("prediction.threshold=0.4 shows all")
    assert said() == "nothing found"


@pytest.mark.parametrize(
    ("score", "threshold", "compared", "advised"),
    [
        (0.48996, 0.49004, "0.48996 < 0.49004", "0.4"),
        (0.048, 0.3, "0.05 < 0.30", "0.04"),
        (0.0007, 0.3, "0.001 < 0.300", "0.0007"),
        (0.5, 1.0, "0.50 < 1.00", "0.5"),
        (0.3, 0.9, "0.30 < 0.90", "0.3"),
        (0.0, 0.3, "0.0 < 0.3", "0"),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(
    score: float, threshold: float, compared: str, advised: str
) -> None:
    text = said(score, threshold=threshold)
    assert f"({compared})" in text
    shown = text.partition("prediction.threshold=")[2].split()[0]
    assert shown == advised
    assert float(shown) <= score
