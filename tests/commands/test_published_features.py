"""A published dataset with features in its authors' files: prepared, trained on and scored without an encoder."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from actloc import experiment
from actloc.errors import UserError
from tests.datasets.raw import RAW
from tests.toy import CONFIG, actloc, make_video

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
EGO4D = """\
dataset:
  name: ego4d_mq
  folder: prepared
  annotations: moments
features:
  name: folders
  path: whole
  suffix: .pt
  fps: 30
  clip_frames: 32
  stride_frames: 16
  align: backpad
  max_steps: 1024
"""
COLOURS = """\
dataset: {name: video_folder, folder: data/colours, videos: videos}
features:
  {name: stored, path: data/colours/features, encoder: {name: color, short_side: 16}, fps: native, clip_frames: 16,
   stride_frames: 16}
"""
FRAMES = {"validation_0000161": 80, "test_0000004": 67, "test_0000270": 352}


def metrics(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("ckpt/*/eval/*/metrics.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


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
    assert "2 of 5 videos have no features (they are skipped and count as missed)" in prepared.stderr
    assert "Next: actloc train thumos.yaml" in prepared.stderr
    assert (tmp_path / "prepared/missing_features.txt").read_text().split() == [
        "video_test_0001496",
        "video_validation_0000160",
    ]
    assert "thumos14: test set 212" in prepared.stdout
    for command in ("train", "eval"):
        done = actloc(tmp_path, command, "thumos.yaml")
        assert done.returncode == 0, done.stderr
    assert "thumos14 Test, test set 212, 3 videos" in " ".join(done.stdout.split())
    assert (metrics(tmp_path)["variant"], metrics(tmp_path)["counts"]["videos"]) == ("test set 212", 3)

    other = actloc(tmp_path, "eval", "ckpt/thumos", "dataset.test_set=211")
    assert other.returncode == 2
    printed = " ".join(other.stderr.split())
    assert (
        "prepared/annotations.json is of another variant: test set 212; the settings choose: test set 211." in printed
    )
    assert "actloc prepare ckpt/thumos dataset.test_set=211 --overwrite" in printed
    for command in (("prepare", "--overwrite"), ("eval",)):
        done = actloc(tmp_path, *command, "ckpt/thumos/config.yaml", "dataset.test_set=211")
        assert done.returncode == 0, done.stderr
    assert (metrics(tmp_path)["variant"], metrics(tmp_path)["counts"]["videos"]) == ("test set 211", 2)
    assert actloc(tmp_path, "report", "ckpt/thumos").returncode == 0
    assert "thumos14 Test, test set 211, 2 videos" in (tmp_path / "ckpt/thumos/report.html").read_text()


def test_features_made_here_take_the_place_of_published_ones(tmp_path: Path) -> None:
    RAW["thumos14"](tmp_path)
    for name, seconds in (("validation_0000161", 30.0), ("test_0000004", 33.7)):
        make_video(tmp_path / f"videos/video_{name}.mp4", [("red", 11.3, 14.1)], seconds)
    (tmp_path / "configs/features").mkdir(parents=True)
    (tmp_path / "configs/features/colours.yaml").write_text(COLOURS)
    (tmp_path / "thumos.yaml").write_text(DATASET + CONFIG[CONFIG.index("detector:") :])
    made_here = ("thumos.yaml", "recipe=colours", "features.path=data/colours/features")
    printed = ""
    for command in (("extract-features", "colours"), ("prepare", *made_here), ("train", *made_here)):
        done = actloc(tmp_path, *command)
        assert done.returncode == 0, done.stderr
        printed += done.stderr
    assert "Next: actloc train thumos.yaml recipe=colours features.path=data/colours/features" in printed
    for arguments in (("eval", "ckpt/thumos"), ("predict", "ckpt/thumos", "videos/video_test_0000004.mp4")):
        done = actloc(tmp_path, *arguments, *(["--set", "prediction.threshold=0"] if arguments[0] == "predict" else []))
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "predictions/predictions.json").read_text())["results"]["video_test_0000004"]


def write_ego4d(folder: Path) -> None:
    """Raw annotations in which both subsets have a class in common, as training needs."""
    RAW["ego4d_mq"](folder)
    scored = folder / "moments/moments_val.json"
    scored.write_text(scored.read_text().replace("wash_hands", "use_phone"))


def test_ego4ds_clips_are_read_from_a_packed_file_of_whole_videos(tmp_path: Path) -> None:
    write_ego4d(tmp_path)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        for name, frames in (("vid-a", 18000), ("vid-b", 4000), ("vid-c", 14400)):
            file[name] = np.zeros(((frames - 32) // 16 + 2, 6), np.float32)
    (tmp_path / "ego4d.yaml").write_text(EGO4D + CONFIG[CONFIG.index("detector:") :])
    for command in ("prepare", "train"):
        done = actloc(tmp_path, command, "ego4d.yaml", "features.path=packed.h5")
        assert done.returncode == 0, done.stderr
        assert "no features" not in done.stderr


def test_ego4ds_own_download_goes_through_prepare_train_and_eval(tmp_path: Path) -> None:
    write_ego4d(tmp_path)
    (tmp_path / "whole").mkdir()
    for name, frames in (("vid-a", 18000), ("vid-b", 4000), ("vid-c", 14400)):
        torch.save(torch.randn((frames - 32) // 16 + 2, 6), tmp_path / f"whole/{name}.pt")
    (tmp_path / "ego4d.yaml").write_text(EGO4D + CONFIG[CONFIG.index("detector:") :])
    for command in ("prepare", "train", "eval"):
        done = actloc(tmp_path, command, "ego4d.yaml")
        assert done.returncode == 0, done.stderr
        assert "no features" not in done.stderr
    assert metrics(tmp_path)["variant"] == "clips of actionformer"
    assert [video["id"] for video in metrics(tmp_path)["videos"]] == ["clip-3"]


def test_a_blocked_list_is_etads_by_name_or_a_file_that_must_be_there() -> None:
    config = "configs/activitynet13_tsp_actionformer.yaml"
    assert experiment.load(config, ["dataset.blocked=etad"]).dataset.variant == "without the 79 videos that ETAD blocks"
    with pytest.raises(UserError) as caught:
        experiment.load(config, ["dataset.blocked=etad"], check_inputs=True)
    assert "dataset.blocked" not in str(caught.value)
    with pytest.raises(UserError, match=r"dataset\.blocked: the file nowhere\.json does not exist"):
        experiment.load(config, ["dataset.blocked=nowhere.json"], check_inputs=True)
    with pytest.raises(UserError, match=r"dataset\.blocked: found 79, expected 'etad', or"):
        experiment.load(config, ["dataset.blocked=79"])


def test_a_raw_form_that_is_missing_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "thumos.yaml").write_text(DATASET + CONFIG[CONFIG.index("detector:") :])
    done = actloc(tmp_path, "prepare", "thumos.yaml")
    assert done.returncode == 2
    assert "dataset.annotations: the file or folder txt does not exist" in done.stderr
    assert not (tmp_path / "prepared").exists()
