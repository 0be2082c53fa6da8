from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from actloc.recognition.results import RecognitionResults, measured
from actloc.recognition.scores import averaged, class_accuracies, confusion, hits, mean_class_accuracy, truth_table


def test_views_are_averaged_as_recorded() -> None:
    recorded = np.load(Path("tests/golden/dualformer/view_average.npz"))
    views = recorded["logits"].reshape(-1, int(recorded["num_views"]), recorded["logits"].shape[1])
    np.testing.assert_allclose(averaged(views, "probabilities"), recorded["prob"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(averaged(views, "logits"), recorded["score"], rtol=0, atol=1e-6)
    large = averaged(views + 1e4, "probabilities")
    assert np.isfinite(large).all()


SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1]])


def test_one_of_several_true_classes_is_enough() -> None:
    truth = truth_table([[0, 1], [2], [0], [0]], 3)
    assert hits(SCORES, truth, 1).tolist() == [True, False, False, True]
    assert hits(SCORES, truth, 2).tolist() == [True, False, True, True]
    assert hits(SCORES, truth, 5).all()
    assert hits(np.zeros((1, 3)), truth_table([[0]], 3), 1).all()
    assert not hits(np.zeros((1, 3)), truth_table([[2]], 3), 2).any()


def test_classes_without_clips_are_in_no_mean() -> None:
    truth = truth_table([[0], [0], [2], [0]], 4)
    scores = np.pad(SCORES, ((0, 0), (0, 1)))
    assert class_accuracies(hits(scores, truth, 1), truth) == [pytest.approx(2 / 3), None, 1.0, None]
    assert mean_class_accuracy(scores, truth) == pytest.approx((2 / 3 + 1) / 2)
    assert mean_class_accuracy(scores[:0], truth[:0]) is None


def test_every_clip_is_confused_once() -> None:
    truth = truth_table([[0, 1], [2], [0, 1], []], 3)
    assert confusion(SCORES, truth).tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def results(scores: np.ndarray, labels: list[list[int]]) -> RecognitionResults:
    classes = ["dive", "jump", "run"]
    given = {"views": "4 clips x 3 crops", "average": "probabilities", "unreadable": {"v_9": "truncated"}}
    head = {
        "name": "toy",
        "dataset": "custom_clips",
        "subset": "test",
        "seed": 0,
        "checkpoint": "ckpt_000001",
        "weights": "raw",
        "commit": None,
        "machine": "a machine",
        "version": "1",
        "created": "2026-11-26T10:00:00",
    }
    return measured(scores, truth_table(labels, 3), classes, head, clips_left_out=1, **given)


def test_results_say_what_was_measured_and_survive_a_file() -> None:
    found = results(SCORES, [[1], [2], [2], [0]])
    assert (found.top_1, found.top_5) == (0.75, 1.0)
    assert found.mean_class_accuracy == pytest.approx((1 + 1 + 0.5) / 3)
    assert [(one.clips, one.top_1) for one in found.per_class] == [(1, 1.0), (1, 1.0), (2, 0.5)]
    assert found.confusion_table() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert sum(one.clips for one in found.confusion) == found.counts.clips == 4
    assert RecognitionResults.model_validate(found.model_dump(mode="json")) == found
    empty = results(SCORES[:0], [])
    assert (empty.top_1, empty.mean_class_accuracy, empty.confusion) == (None, None, [])
    for changes in ({"per_class": []}, {"confusion": [{"true": 3, "predicted": 0, "clips": 1}]}):
        with pytest.raises(ValidationError):
            RecognitionResults.model_validate(found.model_dump(mode="json") | changes)
