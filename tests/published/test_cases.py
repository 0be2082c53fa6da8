"""Published figures from published predictions: of committed excerpts, and of the whole files where they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.evaluation import class_scores
from actloc.evaluation.columns import PredictionColumns
from actloc.evaluation.detection import average_precision
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.scoring import to_columns, truth_of
from tests.golden.cases import GOLDEN
from tests.published import cases
from tests.published.cases import DATA, Case

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} (ACTLOC_DATA) holds what may not be committed")


def golden(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def scnn() -> tuple[Case, NDArray[Any]]:
    """S-CNN's case and the APs that its authors' MATLAB stored."""
    arrays = golden("scnn_thumos14.npz")
    classes = [str(name) for name in arrays["classes"]]
    truth: dict[str, list[tuple[str, float, float]]] = {name: [] for name in classes}
    for video, start, end, label in arrays["truth"].tolist():
        truth[classes[int(label)]].append((f"video_test_{int(video):07d}", start, end))
    ambiguous = [(f"video_test_{int(video):07d}", start, end) for video, start, end in arrays["ambiguous"].tolist()]
    annotations = cases.annotated(classes, dict(truth), ambiguous)
    return cases.scnn_case(arrays["windows"], arrays["weights"], annotations), arrays["class_ap"]


def test_the_100_class_aps_of_scnn_come_out(scnn: tuple[Case, NDArray[Any]]) -> None:
    case, stored = scnn
    ap = case.class_ap()
    np.testing.assert_allclose(ap, stored, atol=1e-12, rtol=0)
    np.testing.assert_allclose(ap.mean(axis=1), [0.477186, 0.435345, 0.362761, 0.287022, 0.189701], atol=5e-7)


def activitynet() -> tuple[list[tuple[int, float, float, int]], PredictionColumns]:
    arrays = golden("activitynet_sample.npz")
    columns = (arrays["truth_videos"], *arrays["truth_segments"].T, arrays["truth_labels"])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    starts, ends = arrays["segments"].T
    videos, labels = (arrays[name].astype(np.int64) for name in ("videos", "labels"))
    return list(rows), PredictionColumns(videos, starts, ends, labels, np.ones(len(videos)))


def activitynet_average(protocol_name: Any, *, in_file_order: bool) -> float:
    rows, predicted = activitynet()
    actions: dict[str, list[tuple[str, float, float]]] = {}
    for video, start, end, label in rows:
        actions.setdefault(f"{label:03d}", []).append((f"{video:04d}", start, end))
    annotations = cases.annotated(sorted(actions), dict(actions))
    protocol = PROTOCOLS[protocol_name]
    truth, _ = to_columns(truth_of(annotations, cases.SUBSET, protocol), {}, protocol)
    if not in_file_order:
        order = np.lexsort((predicted.ends_s, predicted.starts_s, predicted.labels, predicted.videos))
        predicted = PredictionColumns(
            *(getattr(predicted, name)[order] for name in PredictionColumns.__dataclass_fields__)
        )
    return float(average_precision(truth, predicted, cases.HIGH_TIOUS, protocol).mean())


def test_the_activitynet_sample_is_perfect_under_its_own_protocol() -> None:
    assert activitynet_average("activitynet", in_file_order=False) == 1.0
    assert activitynet_average("activitynet", in_file_order=True) == 1.0


def test_the_activitynet_sample_under_actionformers_rules() -> None:
    """All its scores are 1, so the order of rows shows: the published 0.99882 is that of the file."""
    assert activitynet_average("actionformer", in_file_order=True) == pytest.approx(0.99882, abs=5e-6)
    assert activitynet_average("actionformer", in_file_order=False) == pytest.approx(0.99908, abs=5e-6)


@needs_data
@pytest.mark.parametrize("case_of", cases.CASES, ids=lambda case_of: case_of.__name__)
def test_published_files_give_published_figures(case_of: Callable[[Path], Case]) -> None:
    try:
        case = case_of(DATA)
    except FileNotFoundError as error:
        pytest.skip(f"{error.filename} is not here")
    ap = 100 * case.class_ap()
    np.testing.assert_allclose(ap.mean(axis=1), case.published, atol=0.005, rtol=0)
    if case.published_average is not None:
        assert ap.mean() == pytest.approx(case.published_average, abs=0.005)


@needs_data
def test_the_committed_excerpt_of_scnn_is_the_published_file(scnn: tuple[Case, NDArray[Any]]) -> None:
    whole = cases.scnn_thumos14()
    assert scnn[0].predictions == whole.predictions
    assert scnn[0].annotations == whole.annotations
    np.testing.assert_array_equal(scnn[1], cases.scnn_class_ap())


@needs_data
def test_untrimmednet_knows_what_happens_in_the_test_videos_of_thumos14() -> None:
    path = DATA / "thumos14/untrimmednet_test_scores.npy"
    annotations = cases.thumos_truth()
    videos = [video for video in annotations.videos.values() if video.actions]
    scores = class_scores.read(path, "untrimmednet").aligned(path, annotations.classes, [video.id for video in videos])
    is_right = [
        annotations.classes[int(scores[video.id].argmax())] in {action.label for action in video.actions}
        for video in videos
    ]
    assert np.mean(is_right) == pytest.approx(195 / 212)
