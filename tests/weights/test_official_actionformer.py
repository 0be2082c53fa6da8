import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.detectors.actionformer import Config
from actloc.errors import UserError
from actloc.evaluation.detection import PredictionColumns, TruthColumns, average_precision, recall_at
from actloc.evaluation.postprocess import postprocess
from actloc.settings.detections import SuppressionSettings
from actloc.structures import Detections, Grid
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import in_channels_of, official_content, read_official_checkpoint
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
    """The detections of the official checkpoint in each test video, in seconds, by video."""
    detector = SETTINGS.build(16, 3, 320).eval()
    detector.load_state_dict(read_official_checkpoint(CHECKPOINT).averaged)
    results = {}
    for video in arrays["det_video_names"].tolist():
        features = torch.from_numpy(arrays[f"feat_{video}"]).T
        detections = detector.detect(*padded([features], detector.padded_steps(features.shape[1])))[0]
        grid = Grid(FPS, STRIDE, CLIP / 2)
        results[video] = postprocess(detections, grid, database[video]["duration"], SuppressionSettings(max_kept=200))
    return results


def test_an_official_checkpoint_gives_the_detections_of_the_official_code(
    found: dict[str, Detections], arrays: dict[str, Any]
) -> None:
    for index, video in enumerate(arrays["det_video_names"].tolist()):
        rows, ours = arrays["det_video"] == index, found[video]
        np.testing.assert_array_equal(ours.labels.numpy(), arrays["det_label"][rows])
        np.testing.assert_allclose(ours.scores.numpy(), arrays["det_score"][rows], atol=1e-5, rtol=0)
        np.testing.assert_allclose(ours.segments[:, 0].numpy(), arrays["det_t-start"][rows], atol=1e-3, rtol=0)
        np.testing.assert_allclose(ours.segments[:, 1].numpy(), arrays["det_t-end"][rows], atol=1e-3, rtol=0)


def test_an_official_checkpoint_gives_the_official_score(
    found: dict[str, Detections], database: dict[str, Any]
) -> None:
    videos = {video: index for index, (video, entry) in enumerate(database.items()) if entry["subset"] == "Test"}
    rows = np.array([(videos[video], *row) for video in videos for row in counted_rows(database[video]["annotations"])])
    truth = TruthColumns(rows[:, 0].astype(int), rows[:, 1], rows[:, 2], rows[:, 3].astype(int))
    predictions = PredictionColumns(
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
    official = read_official_checkpoint(CHECKPOINT)
    assert (official.epoch, official.in_channels) == (140, 16)
    for weights in (official.weights, official.averaged):
        check_fit(detector, weights, CHECKPOINT)
        detector.load_state_dict(weights, strict=True)


def test_every_weight_that_does_not_fit_is_listed() -> None:
    weights = dict(read_official_checkpoint(CHECKPOINT).weights)
    del weights["neck.fpn_norms.0.bias"]
    del weights["reg_head.scale.3.scale"]
    weights["backbone.extra.weight"] = torch.zeros(2)
    with pytest.raises(UserError) as error:
        check_fit(SETTINGS.build(16, 4, 320), weights, CHECKPOINT)
    heading, *lines = error.value.found.splitlines()
    assert heading == f"5 weights of {CHECKPOINT} do not fit the settings:"
    assert [line.strip() for line in lines] == [
        "neck.fpn_norms.0.bias is missing",
        "reg_head.scale.3.scale is missing",
        "backbone.extra.weight is unexpected",
        "cls_head.cls_head.conv.weight is (3, 16, 3), the settings make it (4, 16, 3)",
        "cls_head.cls_head.conv.bias is (3,), the settings make it (4,)",
    ]


def test_channels_of_projected_features_add_up() -> None:
    detector = SETTINGS.model_copy(update={"projection": ((5, 10), (4, 6))}).build(9, 3, 320)
    assert in_channels_of(detector.state_dict()) == 9
    assert in_channels_of({}) is None


def test_writing_an_official_checkpoint_gives_the_official_names_and_the_same_weights(tmp_path: Path) -> None:
    official, path = read_official_checkpoint(CHECKPOINT), tmp_path / "epoch_140.pth.tar"
    path.write_bytes(official_content(official.weights, official.averaged, official.epoch))
    again = read_official_checkpoint(path)
    assert again.epoch == official.epoch
    for first, second in ((official.weights, again.weights), (official.averaged, again.averaged)):
        assert list(first) == list(second)
        assert all(torch.equal(first[name], second[name]) for name in first)
    written, original = (torch.load(file, weights_only=True) for file in (path, CHECKPOINT))
    for entry in ("state_dict", "state_dict_ema"):
        assert list(written[entry]) == list(original[entry])
    assert set(written) == {"epoch", "state_dict", "state_dict_ema"}


def test_weights_without_the_prefix_are_read_and_a_mixture_is_refused(tmp_path: Path) -> None:
    path, plain = tmp_path / "epoch_001.pth.tar", {"a.weight": torch.ones(2)}
    torch.save({"state_dict": plain, "state_dict_ema": plain}, path)
    assert list(read_official_checkpoint(path).weights) == ["a.weight"]
    torch.save({"state_dict": {**plain, "module.a.weight": torch.ones(2)}, "state_dict_ema": plain}, path)
    with pytest.raises(UserError, match=r"with and without the prefix module\.: a\.weight"):
        read_official_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False, None])
def test_a_checkpoint_that_would_run_code_is_refused_and_the_code_named(tmp_path: Path, zipped: bool | None) -> None:
    path, content = tmp_path / "epoch_001.pth.tar", {"state_dict": Harmful(), "state_dict_ema": {}}
    if zipped is None:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused: it needs posix\.system"):
        read_official_checkpoint(path)


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch_001.pth.tar"
    with pytest.raises(UserError, match="no file"):
        read_official_checkpoint(path)
    for content in (b"", b"a sentence is not a checkpoint", CHECKPOINT.read_bytes()[:100_000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            read_official_checkpoint(path)
    for other in ({"model": {}}, [1, 2], {"state_dict": 3, "state_dict_ema": {}}):
        torch.save(other, path)
        with pytest.raises(UserError, match="no weights under state_dict"):
            read_official_checkpoint(path)
