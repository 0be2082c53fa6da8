"""`training.precision=bfloat16` reaches training and detection, and leaves float32 weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from actloc.training import checkpoint as checkpoints
from tests.toy import actloc, copy_toy


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained toy set with a second run in bfloat16."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("precision") / "toy")
    run(folder, "train", "toy.yaml", "run.name=rounded", "training.precision=bfloat16")
    return folder


def run(folder: Path, *arguments: str) -> None:
    done = actloc(folder, *arguments)
    assert done.returncode == 0, done.stderr


def weights(run_folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(checkpoints.last(run_folder) / "weights.safetensors")


def scores(run_folder: Path, results: str = "test") -> list[Any]:
    found = json.loads((run_folder / "eval" / results / "predictions.json").read_text())["results"]
    return [row["score"] for rows in found.values() for row in rows]


def test_training_in_bfloat16_gives_other_weights_near_those_of_float32(folder: Path) -> None:
    exact, rounded = (weights(folder / "ckpt" / name) for name in ("toy", "rounded"))
    assert all(tensor.dtype == torch.float32 for tensor in rounded.values())
    assert any(not torch.equal(rounded[name], tensor) for name, tensor in exact.items())
    for name, tensor in exact.items():
        assert (rounded[name] - tensor).norm() <= 0.1 * tensor.norm() + 0.1, name


def test_a_run_detects_in_the_precision_it_was_trained_in(folder: Path) -> None:
    run(folder, "eval", "ckpt/rounded")
    own = scores(folder / "ckpt/rounded")
    run(folder, "eval", "ckpt/rounded", "training.precision=float32")
    other = scores(folder / "ckpt/rounded", "test-training.precision=float32")
    assert own != other
    assert max(own) == pytest.approx(max(other), rel=0.05)


def test_a_run_does_not_go_on_in_another_precision(folder: Path) -> None:
    done = actloc(folder, "train", "toy.yaml", "run.name=rounded")
    assert done.returncode == 2
    assert "training.precision: bfloat16 in the run, float32 now" in done.stderr
