import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.annotations.model import Action
from actloc.errors import UserError
from actloc.evaluation.fusion import fuse, to_predictions, with_classifier
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import ClassifierRecord
from actloc.evaluation.scoring import Truth
from actloc.settings.detections import FusionSettings
from actloc.structures import Detections, VideoDetections
from tests.golden.cases import GOLDEN

FACTS = json.loads((GOLDEN / "score_fusion.json").read_text())


def test_fused_detections_equal_the_official_ones() -> None:
    with np.load(GOLDEN / "score_fusion.npz") as file:
        arrays = dict(file)
    inside, outside = np.array(FACTS["in_video"]), np.array(FACTS["out_video"])
    for video, class_scores in FACTS["cls_scores"].items():
        given, expected = inside == video, outside == video
        rows, labels, scores = fuse(
            arrays["in_score"][given], np.array(class_scores), "sqrt", FACTS["topk"], FACTS["num_pred"]
        )
        np.testing.assert_array_equal(labels, arrays["out_label"][expected])
        np.testing.assert_allclose(scores, arrays["out_score"][expected], rtol=0, atol=1e-12)
        for end in ("t-start", "t-end"):
            np.testing.assert_array_equal(arrays[f"in_{end}"][given][rows], arrays[f"out_{end}"][expected])


def test_the_product_is_the_square_of_sqrt_and_weak_detections_are_dropped() -> None:
    own, classes = np.array([0.1, 0.9, 0.4]), np.array([0.2, 0.5, 0.3])
    rows, labels, product = fuse(own, classes, "product", 2, 2)
    assert rows.tolist() == [1, 2, 1, 2]
    assert labels.tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(product, [0.45, 0.2, 0.27, 0.12])
    np.testing.assert_allclose(fuse(own, classes, "sqrt", 2, 2)[2] ** 2, product)


def test_asking_for_more_classes_than_there_are_gives_all_of_them() -> None:
    assert fuse(np.array([0.5]), np.array([0.2, 0.8]), "sqrt", 5, 200)[1].tolist() == [1, 0]


def test_each_detection_may_have_class_scores_of_its_own() -> None:
    own, classes = np.array([0.5, 0.9, 0.4]), np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    rows, labels, scores = fuse(own, classes, "product", 2, 2)
    assert rows.tolist() == [1, 0, 1, 0]
    assert labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(scores, [0.72, 0.45, 0.18, 0.05])


def test_one_row_of_the_video_is_each_detections() -> None:
    own, row = np.array([0.5, 0.9]), np.array([0.1, 0.7, 0.2])
    expected = [part.tolist() for part in fuse(own, row, "sqrt", 2, 200)]
    for rows in (row[None], np.tile(row, (2, 1))):
        assert [part.tolist() for part in fuse(own, rows, "sqrt", 2, 200)] == expected


def found(*class_scores: torch.Tensor | None) -> list[VideoDetections]:
    segments, labels = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, dtype=torch.long)
    return [
        VideoDetections(f"v{number}", Detections(segments, torch.tensor([0.9, 0.4]), labels, rows))
        for number, rows in enumerate(class_scores)
    ]


def test_a_detectors_own_class_scores_name_the_classes_where_the_settings_ask_for_it() -> None:
    listed, classes = found(torch.tensor([[0.25, 0.75]]), torch.tensor([[0.6, 0.4], [0.1, 0.9]])), ("jump", "run")
    settings = FusionSettings.model_validate({"scores": "own", "rule": "product", "top_k": 1})
    fused = to_predictions(listed, classes, settings)
    assert [(one.label, one.start_s) for one in fused["v0"]] == [("run", 1.0), ("run", 3.0)]
    assert [(one.label, one.start_s) for one in fused["v1"]] == [("jump", 1.0), ("run", 3.0)]
    assert [one.score for one in fused["v1"]] == pytest.approx([0.54, 0.36])
    for other in ({}, {"scores": "truth"}, {"scores": "own", "rule": "none"}):
        plain = to_predictions(listed, classes, FusionSettings.model_validate(other))
        assert [(one.label, one.score) for one in plain["v1"]] == [("jump", 0.9), ("jump", 0.4)]
    empty = Detections(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long))  # of an unreadable video
    assert to_predictions([VideoDetections("v", empty)], classes, settings) == {"v": []}


def test_a_perfect_classifier_of_segments_names_each_as_the_action_beneath_it() -> None:
    actions = (Action(0, 10, "run"), Action(12, 20, "jump"))
    truth = Truth([], {"v": actions, "empty": ()}, ("jump", "run"))
    listed = [Prediction("jump", 0.9, 1, 9), Prediction("run", 0.8, 9, 19), Prediction("run", 0.7, 30, 40)]
    predictions = {"v": listed, "empty": [Prediction("run", 0.5, 0, 1)]}
    rows = {"v": np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]), "empty": np.array([[0.5, 0.5]])}
    settings = FusionSettings(scores="own", top_k=1)
    fused, record = with_classifier(predictions, rows, truth, settings, (0.5, 0.7), PROTOCOLS["actionformer"])
    assert [one.label for one in fused["v"]] == ["jump", "run", "run"]
    assert record.true_class_mean_ap == [1.0, 0.5]  # at 0.7 the jump is missed: 7 of 11 seconds are shared
    # centred inside the run is a detection that scores jump best, inside the jump one that scores run best
    assert (record.per, record.top_1) == ("segment", 0.0)


CLASSES = ("jump", "run")
TRUTH = Truth(
    [],
    {"v": (Action(0, 10, "run"), Action(12, 20, "jump"), Action(28, 30, "run")), "w": (Action(0, 4, "jump"),)},
    CLASSES,
)
FOUND = {
    "v": [Prediction("action", 0.9, 1, 9), Prediction("action", 0.64, 11, 21), Prediction("action", 0.25, 40, 44)],
    "w": [Prediction("action", 0.81, 0, 4)],
}
WINDOWED = {
    "classes": ["run", "nothing", "jump"],
    "results": {"v": [0.8, 0.0, 0.2], "w": [0.6, 0.1, 0.3]},
    "windows": {  # centres 2, 6, 14, 18 and 38
        "v": [
            [0, 4, [1.0, 0, 0]],
            [4, 8, [0.5, 0.1, 0.4]],
            [12, 16, [0, 0, 1]],
            [16, 20, [0.5, 0, 0.5]],
            [36, 40, [0, 0.2, 0.8]],
        ],
        "w": [[0, 4, [0.3, 0.1, 0.6]]],
    },
    "facts": {"run": "tanet", "views": 3},
}


def fused_by_file(
    folder: Path, predictions: Predictions, content: dict[str, Any] = WINDOWED, **settings: Any
) -> tuple[Predictions, ClassifierRecord]:
    path = folder / "scores.json"
    path.write_text(json.dumps(content))
    how = FusionSettings.model_validate({"scores": str(path), "rule": "product", **settings})
    return with_classifier(predictions, {}, TRUTH, how, (0.5,), PROTOCOLS["actionformer"])


def shown(listed: list[Prediction]) -> list[tuple[str, float, float]]:
    return [(one.label, one.start_s, round(one.score, 12)) for one in listed]


def test_each_segment_gets_the_classes_of_its_windows(tmp_path: Path) -> None:
    fused, record = fused_by_file(tmp_path, FOUND, per="segment", top_k=1)
    # 1-9 s: the mean of two windows, run 0.75; 11-21 s: two, jump 0.75; 40-44 s: none is inside, the nearest has 0.8
    assert shown(fused["v"]) == [("run", 1, 0.675), ("jump", 11, 0.48), ("jump", 40, 0.2)]
    assert shown(fused["w"]) == [("jump", 0, 0.486)]
    assert (record.per, record.facts) == ("segment", {"run": "tanet", "views": 3})
    # of the four actions only 28-30 s of run is wrong: no centre is inside, and the nearest window says jump
    assert record.top_1 == 0.75
    # true classes of segments: jump finds both its actions first; run finds one of two
    assert record.true_class_mean_ap == [0.75]
    both, _ = fused_by_file(tmp_path, FOUND, per="segment", rule="sqrt", top_k=2)
    products = [("run", 0.675), ("jump", 0.48), ("jump", 0.2), ("jump", 0.18), ("run", 0.16), ("run", 0.0)]
    assert [one.label for one in both["v"]] == [label for label, _ in products]
    assert [one.score**2 for one in both["v"]] == pytest.approx([score for _, score in products])


def test_each_video_gets_its_own_classes_from_the_same_file(tmp_path: Path) -> None:
    fused, record = fused_by_file(tmp_path, FOUND, top_k=1)
    assert shown(fused["v"]) == [("run", 1, 0.72), ("run", 11, 0.512), ("run", 40, 0.2)]
    assert (record.per, record.top_1) == ("video", 0.5)
    # every detection of v is both: jump finds its actions second and third, run finds one of two
    assert record.true_class_mean_ap == [pytest.approx((2 / 3 + 1 / 2) / 2)]


def test_detections_may_keep_their_classes_and_have_their_scores_fused(tmp_path: Path) -> None:
    labelled = {
        "v": [Prediction("run", 0.9, 1, 9), Prediction("run", 0.64, 11, 21)],
        "w": [Prediction("jump", 0.8, 0, 4)],
    }
    fused, record = fused_by_file(tmp_path, labelled, per="segment", labels="keep")
    assert shown(fused["v"]) == [("run", 1, 0.675), ("run", 11, 0.16)]
    assert shown(fused["w"]) == [("jump", 0, 0.48)]
    assert record.labels == "keep"
    of_video, _ = fused_by_file(tmp_path, labelled, labels="keep")
    assert shown(of_video["v"]) == [("run", 1, 0.72), ("run", 11, 0.512)]
    with pytest.raises(
        UserError, match=r"detections are labelled action\.[\s\S]*jump, run[\s\S]*fusion\.labels=replace"
    ):
        fused_by_file(tmp_path, FOUND, labels="keep")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**WINDOWED, "windows": {}}, "scores of whole videos only, and fusion.per is segment"),
        ({**WINDOWED, "windows": {"v": WINDOWED["windows"]["v"]}}, r"no windows with scores for 1 video \(w\)"),
        ({**WINDOWED, "classes": ["run", "nothing", "hop"]}, r"no windows with scores for 1 class \(jump\)"),
    ],
)
def test_windows_of_every_class_and_video_are_needed(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fused_by_file(tmp_path, FOUND, content, per="segment")


@pytest.mark.parametrize("scores", ["own", "truth"])
def test_only_a_file_has_windows(scores: str) -> None:
    with pytest.raises(ValueError, match=f"per: found segment, which needs fusion.scores=FILE; with {scores}, set"):
        FusionSettings.model_validate({"scores": scores, "per": "segment"})
    assert FusionSettings(per="segment").scores is None
