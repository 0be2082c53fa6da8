"""Features and actions without videos: prepared, trained on, and used for new videos with an encoder that is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.training import checkpoint
from tests.toy import CONFIG, SCENES, TEST_VIDEOS, actloc, make_video

FEATURES = """\
dataset: {name: custom, folder: prepared, annotations: labels.csv}
features: {name: folders, path: feats, suffix: .csv, fps: 8, clip_frames: 2, stride_frames: 2, max_steps: 32}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with features of 6 channels in .csv, trained on for one epoch."""
    rows, generator = ["video,start,end,label,subset"], np.random.default_rng(0)
    (tmp_path / "feats").mkdir()
    for name, scene in SCENES.items():
        np.savetxt(tmp_path / f"feats/{name}.csv", generator.normal(size=(16, 6)), delimiter=",")
        subset = "test" if name in TEST_VIDEOS else "train"
        rows += [f"{name},{start},{end},{colour},{subset}" for colour, start, end in scene]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.yaml").write_text(FEATURES + CONFIG[CONFIG.index("detector:") :])
    for command in ("prepare", "train", "eval"):
        done = actloc(tmp_path, command, "own.yaml")
        assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.usefixtures("forked_decoders")
def test_a_new_video_needs_the_encoder_by_name_and_nothing_proves_it(run: Path) -> None:
    make_video(run / "new.mp4", [("red", 1.0, 2.0)])
    call = "predict", "ckpt/own", "new.mp4", "--set", "prediction.threshold=0"
    done = actloc(run, *call)
    assert done.returncode == 2
    assert "--set features.encoder.name=NAME" in done.stderr
    done = actloc(run, *call, "--set", "features.encoder.name=color")
    assert done.returncode == 0, done.stderr
    assert "cannot be proved that color makes the same" in " ".join(done.stderr.split())
    assert "new" in (run / "predictions/predictions.json").read_text()
    done = actloc(run, *call, "--set", "features.encoder.name=efficientnet_lite0")
    assert done.returncode == 2
    assert "gives 1280 channels" in done.stderr
    assert "was trained on features with 6" in done.stderr


def test_an_encoder_needs_videos_unless_features_are_in_files(run: Path) -> None:
    (run / "stored.yaml").write_text(CONFIG.replace("  videos: videos\n", ""))
    done = actloc(run, "prepare", "stored.yaml")
    assert done.returncode == 2
    assert "dataset.videos is missing, which features.encoder.name=color needs" in " ".join(done.stderr.split())
    np.savetxt(run / "feats/v0.csv", np.zeros((16, 5)), delimiter=",")
    done = actloc(run, "train", "own.yaml", "--overwrite")
    assert done.returncode == 2
    assert "have 6 channels, those of v0 5" in done.stderr
    for path in (run / "feats").iterdir():
        np.savetxt(path, np.zeros((16, 5)), delimiter=",")
    done = actloc(run, "eval", "own.yaml")
    assert done.returncode == 2
    assert "was trained on features with 6" in done.stderr
    done = actloc(run, "train", "own.yaml", "--resume", "ckpt_000003")
    assert done.returncode == 2
    assert "The channels of the features have changed since ckpt/own started training" in " ".join(done.stderr.split())


def weights(run: Path) -> dict[str, Tensor]:
    return checkpoint.load(checkpoint.last(run)).averaged


def test_a_new_run_starts_from_another_ones_weights_also_with_other_classes(run: Path) -> None:
    still = "optimizer.learning_rate=1e-30", "optimizer.weight_decay=0"  # so that the start can be seen at the end
    done = actloc(run, "train", "own.yaml", "run.name=more", "training.initialise=ckpt/own", *still)
    assert done.returncode == 0, done.stderr
    before, after = weights(run / "ckpt/own"), weights(run / "ckpt/more")
    assert all(torch.allclose(after[name], tensor, atol=1e-6) for name, tensor in before.items())
    assert "Started from ckpt/own/ckpt_000006: " in done.stderr
    converted = actloc(run, "convert", "ckpt/own/ckpt_000006", "official.pth.tar")
    assert converted.returncode == 0, converted.stderr
    done = actloc(run, "train", "own.yaml", "run.name=official", "training.initialise=official.pth.tar", *still)
    assert done.returncode == 0, done.stderr
    after = weights(run / "ckpt/official")
    assert all(torch.allclose(after[name], tensor, atol=1e-6) for name, tensor in before.items())
    labels = (run / "labels.csv").read_text()
    (run / "labels.csv").write_text(labels.replace("blue", "green").replace("red", "zebra") + "v4,1,2,blue,train\n")
    other = "dataset.folder=other", "run.name=other", "training.initialise=ckpt/own/ckpt_000006", *still
    for command in ("prepare", "train"):
        done = actloc(run, command, "own.yaml", *other)
        assert done.returncode == 0, done.stderr
    printed = " ".join(done.stderr.split())
    assert "Of 2 tensors the entries of blue taken" in printed
    assert "New: 2 classes: green, zebra" in printed
    assert "Left: 1 class: red" in printed
    after = weights(run / "ckpt/other")
    head = "detector/cls_head.cls_head.conv.bias"
    assert after[head].shape == (3,)
    assert after[head][0].item() == pytest.approx(before[head][0].item(), rel=1e-5)
    record = json.loads((run / "ckpt/other/initialised.json").read_text())
    assert record["start"] == "ckpt/own/ckpt_000006"
    assert record["partly"][head] == ["blue"]
    # going on needs no start
    shutil.rmtree(run / "ckpt/own")
    (run / "ckpt/other/finished.json").unlink()
    done = actloc(run, "train", "own.yaml", *other)
    assert done.returncode == 0, done.stderr


def test_a_start_that_is_not_there_or_does_not_fit_is_refused(run: Path) -> None:
    for path, found in (("ckpt/nothing", "which is no trained run"), ("ckpt/own", "which is this run")):
        done = actloc(run, "train", "own.yaml", "--overwrite", f"training.initialise={path}")
        assert done.returncode == 2
        assert found in done.stderr
    assert weights(run / "ckpt/own")
    done = actloc(run, "train", "own.yaml", "run.name=tall", "training.initialise=ckpt/own", "detector.dim=32")
    assert done.returncode == 0, done.stderr
    assert "(16, 6, 3) in the start, (32, 6, 3) here" in " ".join(done.stderr.split())
