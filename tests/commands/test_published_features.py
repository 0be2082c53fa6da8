"""A published dataset with features in its authors' files: prepared, trained on and scored without an encoder."""

from pathlib import Path

import numpy as np

from tests.datasets.raw import RAW
from tests.toy import CONFIG, actloc

DATASET = """\
dataset:
  name: thumos14
  folder: prepared
  annotations: txt
  metadata: metadata
features:
  name: folders
  path: features
  suffix: .npz
  key: feats
  fps: 2
  clip_frames: 4
  stride_frames: 4
  max_steps: 32
  allow_missing: true
"""
FRAMES = {"validation_0000161": 80, "test_0000004": 67, "test_0000270": 352}


def test_features_in_place_go_through_prepare_train_and_eval(tmp_path: Path) -> None:
    RAW["thumos14"](tmp_path)
    (tmp_path / "features").mkdir()
    generator = np.random.default_rng(0)
    for name, frames in FRAMES.items():
        rows = generator.normal(size=(frames // 4, 6)).astype(np.float32)
        np.savez(tmp_path / f"features/video_{name}.npz", feats=rows)
    (tmp_path / "thumos.yaml").write_text(DATASET + CONFIG[CONFIG.index("detector:") :])
    nothing = actloc(tmp_path, "prepare", "thumos.yaml", "features.path=nowhere")
    assert "5 of 5 videos have no features (nowhere has none" in nothing.stderr
    prepared = actloc(tmp_path, "prepare", "thumos.yaml")
    assert prepared.returncode == 0, prepared.stderr
    assert "2 of 5 videos have no features (they are left out, and missed)" in prepared.stderr
    assert "Next: actloc train thumos.yaml" in prepared.stderr
    assert (tmp_path / "prepared/missing_features.txt").read_text().split() == [
        "video_test_0001496",
        "video_validation_0000160",
    ]
    for command in ("train", "eval"):
        done = actloc(tmp_path, command, "thumos.yaml")
        assert done.returncode == 0, done.stderr


def test_a_raw_form_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "thumos.yaml").write_text(DATASET + CONFIG[CONFIG.index("detector:") :])
    done = actloc(tmp_path, "prepare", "thumos.yaml")
    assert done.returncode == 2
    assert "dataset.annotations: the file or folder txt does not exist" in done.stderr
    assert not (tmp_path / "prepared").exists()
