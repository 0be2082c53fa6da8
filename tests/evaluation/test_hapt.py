"""A checkpoint that the official code trained on real data gives the detections of the official code.

Its 14 MB of weights are too large for the repository, so they are read from the parity folder, if there is one.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.evaluation.detection import PredictionColumns, TruthColumns, average_precision
from actloc.evaluation.postprocess import postprocess
from actloc.layers.precision import computing_in
from actloc.settings.detections import SuppressionSettings
from actloc.structures import Detections, Grid
from actloc.weights.files import check_fit
from actloc.weights.official_actionformer import read_official_checkpoint
from tests.golden.cases import counted_rows, padded, unmatched

PLACES = [Path(place) for place in (os.environ.get("ACTLOC_DATA"), "/work/shared") if place]
FOLDERS = [place / "parity" / "actionformer_hapt" for place in PLACES]
FOLDER = next((folder for folder in FOLDERS if folder.is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="ACTLOC_DATA names no folder with parity/actionformer_hapt")
SETTINGS = Config(dim=128, windows=9)
NUM_KEPT = 200
GRID = Grid(fps=50, stride_frames=25, offset_frames=25)
TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def of_json(name: str) -> Any:
    assert FOLDER
    return json.loads((FOLDER / name).read_text())


@pytest.fixture(scope="module")
def database() -> dict[str, Any]:
    return of_json("hapt.json")["database"]


@pytest.fixture(scope="module")
def official(database: dict[str, Any]) -> dict[str, Detections]:
    """The detections of the official code, by recording."""
    number = {action["label"]: action["label_id"] for entry in database.values() for action in entry["annotations"]}
    return {
        name: Detections(
            torch.tensor([row["segment"] for row in rows]),
            torch.tensor([row["score"] for row in rows]),
            torch.tensor([number[row["label"]] for row in rows]),
        )
        for name, rows in of_json("detections_raw_weights.json")["results"].items()
    }


@pytest.fixture(scope="module")
def detector() -> ActionFormer:
    assert FOLDER
    checkpoint = FOLDER / "epoch_025.pth.tar"
    weights = read_official_checkpoint(checkpoint)
    detector = SETTINGS.build(300, 12, 1280).eval()
    check_fit(detector, weights.averaged, checkpoint)
    check_fit(detector, weights.weights, checkpoint)
    detector.load_state_dict(weights.weights)
    return detector


@pytest.fixture(scope="module")
def found(detector: ActionFormer, database: dict[str, Any]) -> dict[str, Detections]:
    """Our detections with the same weights, by recording."""
    return detect_all(detector, database)


@torch.inference_mode()
def detect_all(detector: ActionFormer, database: dict[str, Any]) -> dict[str, Detections]:
    assert FOLDER
    results = {}
    with np.load(FOLDER / "features.npz") as arrays:
        for name in arrays:
            features = torch.from_numpy(arrays[name]).T
            detections = detector.detect(*padded([features], detector.padded_steps(features.shape[1])))[0]
            results[name] = postprocess(
                detections, GRID, database[name]["duration"], SuppressionSettings(max_kept=NUM_KEPT)
            )
    return results


def test_detections_equal_the_official_ones_except_for_ties_at_the_last_place(
    found: dict[str, Detections], official: dict[str, Detections]
) -> None:
    assert found.keys() == official.keys()
    for name, theirs in official.items():
        ours = found[name]
        assert len(ours) == len(theirs) <= NUM_KEPT
        last = theirs.scores.min() + 1e-4
        for detections, rows in zip((ours, theirs), unmatched(ours, theirs, seconds=1e-3, score=1e-4), strict=True):
            assert (detections.scores[rows] <= last).all(), name


def test_average_precision_equals_that_of_the_official_detections(
    found: dict[str, Detections], official: dict[str, Detections], database: dict[str, Any]
) -> None:
    number, truth = _truth(database, list(found))
    ours, theirs = (average_precision(truth, _predictions(side, number), TIOUS) for side in (found, official))
    assert theirs.mean() > 0.7
    np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=0)


def test_bfloat16_costs_at_most_one_point_of_map(
    detector: ActionFormer, found: dict[str, Detections], database: dict[str, Any]
) -> None:
    with computing_in("bfloat16", torch.device("cpu")):
        rounded = detect_all(detector, database)
    number, truth = _truth(database, list(found))
    exact, bfloat16 = (
        average_precision(truth, _predictions(side, number), TIOUS[:5]).mean() for side in (found, rounded)
    )
    assert exact != bfloat16
    assert bfloat16 == pytest.approx(exact, abs=0.01)


def _truth(database: dict[str, Any], names: list[str]) -> tuple[dict[str, int], TruthColumns]:
    """The row number of each recording, and their actions."""
    rows = np.array(
        [(row, *action) for row, name in enumerate(names) for action in counted_rows(database[name]["annotations"])]
    )
    number = {name: row for row, name in enumerate(names)}
    return number, TruthColumns(rows[:, 0].astype(int), rows[:, 1], rows[:, 2], rows[:, 3].astype(int))


def _predictions(found: dict[str, Detections], number: dict[str, int]) -> PredictionColumns:
    return PredictionColumns(
        np.concatenate([np.full(len(one), number[name]) for name, one in found.items()]),
        *np.concatenate([one.segments.double().numpy() for one in found.values()]).T,
        np.concatenate([one.labels.numpy() for one in found.values()]),
        np.concatenate([one.scores.double().numpy() for one in found.values()]),
    )
