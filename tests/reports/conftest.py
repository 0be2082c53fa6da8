"""Hand-made results with hostile names, which a report must survive."""

from collections.abc import Callable

import pytest

from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.results import Counts, Results, Threshold, TrueAction, Video

IMAGE = "<img src=x onerror=alert(1)>"
MARKUP = "clap [/b] [hands] :bomb:"
FORMULA = '=cmd|"/c calc"!A1'
EMPTY = "nobody does this"
CLASSES = [IMAGE, MARKUP, FORMULA, EMPTY]
STRANGE_ID = 'v"><script>alert(2)</script>\x1b[31m \u202e\U0001f600 {{ 7 * 7 }}'


@pytest.fixture
def predictions() -> Predictions:
    """Many for one video, none for the second, one for a video without annotations."""
    many = [Prediction(CLASSES[i % 3], (i % 97) / 100, i * 0.1, i * 0.1 + 4) for i in range(500)]
    return {STRANGE_ID: many, "silent": [], "unknown": [Prediction(IMAGE, 0.5, 1.0, 2.0)]}


@pytest.fixture
def make_results() -> Callable[..., Results]:
    def make(**changes: object) -> Results:
        truth = [TrueAction(label=CLASSES[i % 3], start_s=i * 5.0, end_s=i * 5.0 + 4) for i in range(6)]
        values: dict[str, object] = {
            "name": "run_a",
            "dataset": "thumos14",
            "variant": "test set 212",
            "subset": "test",
            "protocol": "actionformer",
            "seed": 7,
            "checkpoint": "ckpt_000030",
            "weights": "averaged",
            "commit": "0123456789abcdef",
            "machine": "2 cores, no GPU",
            "version": "0.1.0",
            "created": "2026-01-02T03:04:05",
            "tious": [0.3, 0.5],
            "mean_ap": [0.6, None],
            "average_map": 0.6,
            "classes": CLASSES,
            "class_ap": [[0.5, 0.25], [0.75, 0.5], [0.0, 0.0], [None, None]],
            "truth_per_class": [2, 2, 2, 0],
            "thresholds": [Threshold(score=0.4, f1=0.5)] * 3 + [Threshold(score=None, f1=0.0)],
            "counts": Counts(
                videos=3,
                truths=8,
                predictions=501,
                videos_without_predictions=["silent"],
                truths_missed_there=2,
                predictions_of_unknown_videos=1,
                dropped={"predictions of zero length": 4},
                names={"videos of unknown predictions": [STRANGE_ID]},
            ),
            "videos": [
                Video(id=STRANGE_ID, duration_s=60.0, truth=truth),
                Video(id="silent", duration_s=10.0, truth=truth[:2]),
                Video(id="nothing to see", duration_s=0.0, truth=[]),
            ],
        }
        return Results(**(values | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def results(make_results: Callable[..., Results]) -> Results:
    return make_results()
