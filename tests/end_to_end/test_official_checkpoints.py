"""Official checkpoint files on the command line: scored as they are, and as runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy import actloc, copy_toy


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained toy set with its weights as the official file `epoch_002.pth.tar`."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("official") / "toy")
    run(folder, "convert", "ckpt/toy", "epoch_002.pth.tar")
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = actloc(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predictions(folder: Path, name: str, subset: str) -> Any:
    return json.loads((folder / "ckpt" / name / "eval" / subset / "predictions.json").read_text())["results"]


@pytest.mark.parametrize("weights", ["averaged", "raw"])
def test_a_file_a_run_of_it_and_the_run_it_came_from_find_the_same(folder: Path, weights: str) -> None:
    setting = f"evaluation.weights={weights}"
    run(folder, "eval", "ckpt/toy", setting)
    run(folder, "eval", "toy.yaml", setting, "evaluation.weights_file=epoch_002.pth.tar")
    if not (folder / "ckpt/converted").exists():
        run(folder, "convert", "epoch_002.pth.tar", "ckpt/converted", "toy.yaml")
    run(folder, "eval", "ckpt/converted", setting)
    subset = "test-raw" if weights == "raw" else "test"
    expected = predictions(folder, "toy", subset)
    assert any(expected.values())
    assert predictions(folder, "toy_epoch_002", subset) == predictions(folder, "converted", subset) == expected
    metrics = json.loads((folder / f"ckpt/toy_epoch_002/eval/{subset}/metrics.json").read_text())
    assert (metrics["checkpoint"], metrics["weights"]) == ("epoch_002.pth.tar", weights)


def test_a_converted_run_is_finished_and_makes_a_report(folder: Path) -> None:
    run(folder, "convert", "epoch_002.pth.tar", "ckpt/finished", "toy.yaml")
    assert "is trained" in run(folder, "train", "ckpt/finished")
    run(folder, "verify", "ckpt/finished")
    refused = actloc(folder, "train", "ckpt/finished", "--resume", "ckpt_000000")
    assert refused.returncode == 2
    assert "it has weights, but no optimizer state" in refused.stderr
    run(folder, "eval", "ckpt/finished")
    run(folder, "report", "ckpt/finished")
    assert (folder / "ckpt/finished/report.html").exists()


def test_predicting_with_a_file_that_is_no_run_names_the_way(folder: Path) -> None:
    done = actloc(folder, "predict", "toy.yaml", "videos/v2.mp4", "--set", "evaluation.weights_file=epoch_002.pth.tar")
    assert done.returncode == 2
    assert "actloc convert epoch_002.pth.tar" in done.stderr


def test_features_of_other_channels_are_refused_by_their_numbers(folder: Path) -> None:
    content = torch.load(folder / "epoch_002.pth.tar")
    for part in ("state_dict", "state_dict_ema"):
        key = "module.backbone.embd.0.conv.weight"
        content[part][key] = torch.cat((content[part][key],) * 2, dim=1)
    torch.save(content, folder / "wrong.pth.tar")
    done = actloc(folder, "eval", "toy.yaml", "evaluation.weights_file=wrong.pth.tar")
    assert done.returncode == 2
    assert "The features have" in done.stderr
