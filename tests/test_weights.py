import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.config import Suppression
from actloc.detectors.actionformer import Config
from actloc.errors import UserError
from actloc.evaluation.detection import GroundTruth, Predictions, average_precision, recall_at
from actloc.evaluation.postprocess import postprocess
from actloc.structures import Detections, Grid
from actloc.weights import read_official_checkpoint
from tests.golden.cases import GOLDEN, counted_rows, padded

CHECKPOINT = GOLDEN / "e2e" / "tiny_epoch_140.pth.tar"
SETTINGS = Config(
    dim=16, windows=9, num_branch_blocks=3, num_stem_blocks=1, regression_ranges=((0, 4), (4, 8), (8, 16), (16, 10000))
)
FPS, STRIDE, CLIP = 30.0, 4, 16


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("false",)


@pytest.fixture(scope="module")
def database() -> dict[str, Any]:
    return json.loads((GOLDEN / "e2e" / "tiny_ann.json").read_text())["database"]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    with np.load(GOLDEN / "e2e" / "tiny.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def found(database: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Detections]:
    """What the official checkpoint finds in each test video, in seconds, by video."""
    detector = SETTINGS.build(16, 3, 320).eval()
    detector.load_state_dict(read_official_checkpoint(CHECKPOINT)["averaged_weights"])
    results = {}
    for video in arrays["det_video_names"].tolist():
        features = torch.from_numpy(arrays[f"feat_{video}"]).T
        detections = detector.detect(*padded([features], detector.padded_steps(features.shape[1])))[0]
        grid = Grid(FPS, STRIDE, CLIP / 2)
        results[video] = postprocess(detections, grid, database[video]["duration"], Suppression(max_kept=200))
    return results


def test_an_official_checkpoint_finds_what_the_official_code_finds(
    found: dict[str, Detections], arrays: dict[str, Any]
) -> None:
    for index, video in enumerate(arrays["det_video_names"].tolist()):
        rows, ours = arrays["det_video"] == index, found[video]
        np.testing.assert_array_equal(ours.labels.numpy(), arrays["det_label"][rows])
        np.testing.assert_allclose(ours.scores.numpy(), arrays["det_score"][rows], atol=1e-5, rtol=0)
        np.testing.assert_allclose(ours.segments[:, 0].numpy(), arrays["det_t-start"][rows], atol=1e-3, rtol=0)
        np.testing.assert_allclose(ours.segments[:, 1].numpy(), arrays["det_t-end"][rows], atol=1e-3, rtol=0)


def test_an_official_checkpoint_has_its_official_score(found: dict[str, Detections], database: dict[str, Any]) -> None:
    videos = {video: index for index, (video, entry) in enumerate(database.items()) if entry["subset"] == "Test"}
    rows = np.array([(videos[video], *row) for video in videos for row in counted_rows(database[video]["annotations"])])
    truth = GroundTruth(rows[:, 0].astype(int), rows[:, 1], rows[:, 2], rows[:, 3].astype(int))
    predictions = Predictions(
        np.concatenate([np.full(len(one), videos[video]) for video, one in found.items()]),
        *np.concatenate([one.segments.numpy() for one in found.values()]).T,
        np.concatenate([one.labels.numpy() for one in found.values()]),
        np.concatenate([one.scores.numpy() for one in found.values()]),
    )
    expected = json.loads((GOLDEN / "e2e" / "tiny_results.json").read_text())["eval"]
    ap = average_precision(truth, predictions, expected["tiou"])
    np.testing.assert_allclose(ap.mean(axis=1), expected["mAP"], atol=1e-12, rtol=0)
    assert ap.mean() == pytest.approx(0.9259259259259259, abs=1e-12)
    recall = recall_at(truth, predictions, expected["tiou"], expected["top_k"])
    np.testing.assert_allclose(recall.mean(axis=2), expected["recall"], atol=1e-12, rtol=0)


def test_both_sets_of_weights_fit_the_network() -> None:
    detector = SETTINGS.build(16, 3, 320)
    for weights in read_official_checkpoint(CHECKPOINT).values():
        detector.load_state_dict(weights, strict=True)


@pytest.mark.parametrize("zipped", [True, False, None])
def test_a_checkpoint_that_would_run_code_is_refused_by_name(tmp_path: Path, zipped: bool | None) -> None:
    path, content = tmp_path / "epoch_001.pth.tar", {"state_dict": Harmful(), "state_dict_ema": {}}
    if zipped is None:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused: it needs posix\.system"):
        read_official_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch_001.pth.tar"
    with pytest.raises(UserError, match="no file"):
        read_official_checkpoint(path)
    for content in (b"", b"a sentence is no checkpoint", CHECKPOINT.read_bytes()[:100_000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            read_official_checkpoint(path)
    for other in ({"model": {}}, [1, 2], {"state_dict": 3, "state_dict_ema": {}}):
        torch.save(other, path)
        with pytest.raises(UserError, match="no weights under state_dict"):
            read_official_checkpoint(path)
