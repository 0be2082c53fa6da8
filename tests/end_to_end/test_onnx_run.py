"""`export-onnx` and `predict --onnx`: the same segments as with torch, of the right run only."""

import json
from pathlib import Path

import pytest

from actloc import experiment
from actloc.detectors.actionformer.network import ActionFormer
from actloc.encoders.color.network import Color
from actloc.runs.predictor import Found, Predictor
from tests.toy import actloc, copy_toy

STEP_S = 0.25
WINDOW_S = 32 * STEP_S


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy run with its detector as ONNX."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("onnx") / "toy")
    done = actloc(folder, "export-onnx", "ckpt/toy", "encoder.onnx", "--encoder")
    assert done.returncode == 0, done.stderr
    assert "frames (1, any, any, 3) gives vectors" in done.stderr
    done = actloc(folder, "export-onnx", "ckpt/toy", "toy.onnx", "--json")
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["inputs"] == {"features": [1, 6, 32], "mask": [1, 32]}
    assert 0 < event["difference"] < 1e-5
    return folder


def found(*onnx: str) -> Found:
    loaded = experiment.load("ckpt/toy", ["prediction.threshold=0.01"])
    return Predictor(loaded, [Path(name) for name in onnx]).detect(Path("videos/v2.mp4"))


def test_segments_are_those_of_torch_and_its_network_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    by_torch = found()

    def refuse(*arguments: object) -> None:
        raise AssertionError("torch's network is used")

    monkeypatch.setattr(ActionFormer, "forward", refuse)
    monkeypatch.setattr(Color, "frame_vectors", refuse)
    by_onnx = found("toy.onnx", "encoder.onnx")
    assert len(by_torch.predictions) == len(by_onnx.predictions) > 30
    for one, other in zip(by_onnx.predictions, by_torch.predictions, strict=True):
        assert one.label == other.label
        assert abs(one.score - other.score) < 1e-4
        assert abs(one.start_s - other.start_s) < 1e-4 * WINDOW_S
        assert abs(one.end_s - other.end_s) < 1e-4 * WINDOW_S


def test_predict_writes_the_same_summaries_and_does_not_mix_them_with_others(folder: Path) -> None:
    call = "predict", "ckpt/toy", "videos/v2.mp4", "prediction.threshold=0.01", "--output", "found"
    done = actloc(folder, *call, "--onnx", "toy.onnx")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "found/predictions.json").read_text())["results"]["v2"]
    done = actloc(folder, *call)
    assert done.returncode == 2
    assert "sha256 of the detector's ONNX file" in done.stderr


def test_a_file_that_is_not_of_the_run_is_refused_with_what_differs(folder: Path) -> None:
    call = "predict", "ckpt/toy", "videos/v2.mp4", "prediction.threshold=0.01", "--output", "other"
    done = actloc(folder, *call, "--onnx", "toy.onnx", "--set", "evaluation.weights=raw")
    assert done.returncode == 2
    assert "toy.onnx is of another detector, of the run toy:" in done.stderr
    assert "weights: averaged in the file, raw in the run" in done.stderr
    assert "Write it again: actloc export-onnx ckpt/toy toy.onnx --overwrite" in done.stderr
    done = actloc(folder, *call, "--onnx", "toy.onnx", "--onnx", "toy.onnx")
    assert (done.returncode, "toy.onnx and toy.onnx are both of the detector." in done.stderr) == (2, True)
    done = actloc(folder, *call, "--onnx", "toi.onnx")
    assert done.returncode == 2
    assert "toi.onnx is not a file. Did you mean toy.onnx?" in done.stderr
    assert not (folder / "other").exists()


def test_what_cannot_be_written_is_refused_and_the_files_of_others_stay(folder: Path, recognizing: Path) -> None:
    (folder / "mine.onnx").write_text("mine")
    done = actloc(folder, "export-onnx", "ckpt/toy", "mine.onnx")
    assert (done.returncode, "with --overwrite" in done.stderr) == (2, True)
    assert (folder / "mine.onnx").read_text() == "mine"
    done = actloc(folder, "export-onnx", "ckpt/toy", "toy.pt")
    assert (done.returncode, "toy.pt does not end in .onnx." in done.stderr) == (2, True)
    done = actloc(folder, "export-onnx", "ckpt/toy", "long.onnx", "--steps", "1000")
    assert (done.returncode, "A video has 1000 feature steps" in done.stderr) == (2, True)
    done = actloc(folder, "export-onnx", "ckpt/toy", "new.onnx", "--steps", "3", "--encoder")
    assert (done.returncode, "Remove --steps." in done.stderr) == (2, True)
    done = actloc(recognizing, "export-onnx", "ckpt/toy", "toy.onnx")
    assert (done.returncode, "the task is recognition" in done.stderr) == (2, True)
