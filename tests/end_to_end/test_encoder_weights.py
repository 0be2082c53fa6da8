"""A run knows which weights made its features: their file may move, another's features do not pass for them."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from tests.toy import actloc, copy_toy

TINTED = '''
"""Colours times a number that is the encoder's weight."""
from torch import nn
from actloc.encoders.base import WeightsFile, load_into
from actloc.weights import published
from actloc.encoders import color
from actloc.encoders.color.network import Color
from actloc.weights.published import PublishedFile

class Config(color.Config):
    weights: WeightsFile = None

    def build(self):
        path = published.locate(self.weights, PublishedFile("tint.pth", "nowhere", "1 kB"))
        encoder = Tinted(self)
        load_into(encoder, published.read(path), path)
        return encoder.eval()

class Tinted(Color):
    def __init__(self, config):
        super().__init__(config)
        self.gain = nn.Linear(1, 1, bias=False)

    def pool_frames(self, vectors):
        return super().pool_frames(vectors) * self.gain.weight
'''
SECOND = "features.encoder.weights=second.pth"


def run(folder: Path, *arguments: str, status: int = 0) -> CompletedProcess[str]:
    done = actloc(folder, *arguments, ACTLOC_CODE="own/tinted.py")
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def tinted(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set trained on features of an encoder with a file of weights, and a second such file."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("tinted") / "toy")
    (folder / "own").mkdir()
    (folder / "own/tinted.py").write_text(TINTED)
    text = (folder / "toy.yaml").read_text().replace("name: color", "name: tinted")
    (folder / "toy.yaml").write_text(text.replace("path: features", "path: tinted"))
    (folder / "data/weights").mkdir(parents=True)
    for path, gain in (("data/weights/tint.pth", 0.5), ("second.pth", 2.0)):
        torch.save({"gain.weight": torch.full((1, 1), gain)}, folder / path)
    for command in ("extract-features", "train", "eval"):
        run(folder, command, "toy.yaml")
    return folder


def test_the_weights_may_move(tinted: Path, tmp_path: Path) -> None:
    folder = copy_toy(tinted, tmp_path / "toy")
    usual = folder / "data/weights/tint.pth"
    show_all = ("--set", "prediction.threshold=0", "--output")
    run(folder, "predict", "ckpt/toy", "videos/v2.mp4", *show_all, "before")
    usual.rename(folder / "moved.pth")
    lost = run(folder, "predict", "ckpt/toy", "videos/v2.mp4", status=2).stderr
    assert "Expected tint.pth (1 kB), published at nowhere" in lost
    assert "set its path: features.encoder.weights=FILE (with predict: --set features.encoder.weights=FILE)" in lost
    moved = ("--set", "features.encoder.weights=moved.pth", *show_all, "after")
    run(folder, "predict", "ckpt/toy", "videos/v2.mp4", *moved)
    before, after = (json.loads((folder / name / "predictions.json").read_text()) for name in ("before", "after"))
    assert before["results"]["v2"]
    assert after == before
    run(folder, "eval", "ckpt/toy", "features.encoder.weights=moved.pth")
    assert "is trained" in run(folder, "train", "toy.yaml", "features.encoder.weights=moved.pth").stdout


def test_other_weights_are_refused(tinted: Path, tmp_path: Path) -> None:
    folder = copy_toy(tinted, tmp_path / "toy")
    told = run(folder, "predict", "ckpt/toy", "videos/v2.mp4", "--set", SECOND, status=2).stderr
    assert "Expected those that made the run's features, with sha256 " in told
    assert "--set features.encoder.weights=FILE" in told
    assert "weights_sha256" in run(folder, "extract-features", "toy.yaml", SECOND, status=2).stderr
    run(folder, "extract-features", "toy.yaml", SECOND, "--overwrite")
    scored = run(folder, "eval", "ckpt/toy", status=2).stderr
    assert "were made with encoder weights of sha256" in scored
    assert "actloc train ckpt/toy --overwrite" in scored
    resumed = run(folder, "train", "toy.yaml", "--resume", "ckpt_000004", status=2).stderr
    assert "encoder weights of the features have changed" in resumed
    run(folder, "train", "ckpt/toy/config.yaml", "--overwrite")
    run(folder, "eval", "ckpt/toy")
