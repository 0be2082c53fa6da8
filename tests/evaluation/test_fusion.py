import json

import numpy as np

from actloc.evaluation.fusion import fuse
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
