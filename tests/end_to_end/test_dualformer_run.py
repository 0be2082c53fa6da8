"""DualFormer in the place of Video Swin: in TALLFormer's config, and trained with a detector by the commands."""

import json
from pathlib import Path

import pytest
import torch

from actloc import experiment
from actloc.encoders.base_network import check_clips, vectors_per_clip
from actloc.sources.encoded import Config as EncodedConfig
from tests.end_to_end.test_trained_encoder import E2E
from tests.toy import actloc, copy_toy

ENCODER = (
    "{name: dualformer, frames: 4, side: 64, crop: 64, rate_factor: 0.1, size: {dims: [8, 16, 24, 32], "
    "depths: [2, 1, 2, 2], heads: [1, 2, 3, 4], windows: [[2, 4, 4], [2, 4, 4], [2, 4, 4], [2, 2, 2]], "
    "fine: [[2, 4, 4], [2, 4, 4], [2, 2, 2], [2, 2, 2]], coarse: [[1, 2, 2], [1, 1, 1]]}}"
)
TOY = E2E.replace("{name: efficientnet_lite0, short_side: 32, crop: 32, rate_factor: 0.01}", ENCODER).replace(
    "clip_frames: 2\n  stride_frames: 2", "clip_frames: 4\n  stride_frames: 4"
)


@pytest.mark.parametrize(("size", "channels"), [("tiny", 512), ("small", 768), ("base", 1024)])
def test_it_takes_the_place_of_video_swin_in_tallformers_config(size: str, channels: int) -> None:
    encoder = f"features.encoder={{name: dualformer, size: {size}, resize: square, rate_factor: 0.4}}"
    loaded = experiment.load("configs/thumos14_video_swin_t_tallformer.yaml", [encoder])
    features = loaded.features
    assert isinstance(features, EncodedConfig)
    assert features.encoder.name == "dualformer"
    with torch.device("meta"):
        network = features.encoder.network()
        detector = loaded.detector.build(network.channels, 20, features.max_steps)
        vectors = network.encode(torch.zeros(1, 32, 224, 224, 3))
    check_clips(network, features.spacing)
    assert vectors.shape == (1, channels, vectors_per_clip(network, features.spacing)) == (1, channels, 16)
    assert sum(weight.numel() for weight in detector.parameters()) == 29839038 - 512 * (1024 - channels) * 3
    network.set_trainable(features.encoder.trainable)
    learning = {name.split(".")[1] for name, one in network.named_parameters() if one.requires_grad and "." in name}
    assert {"2", "3"} <= learning
    assert not learning & {"0", "1"}


@pytest.mark.parametrize("preset", ["etad", "tallformer"])
def test_a_small_one_learns_with_a_detector(toy: Path, tmp_path: Path, preset: str) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    bank = "\n  bank: stored" if preset == "tallformer" else ""
    (folder / "toy.yaml").write_text(TOY.replace("preset: etad", f"preset: {preset}{bank}"))
    commands = [("prepare", "toy.yaml"), ("extract-features", "toy.yaml"), ("train", "toy.yaml"), ("eval", "ckpt/toy")]
    for command in commands if bank else [commands[0], *commands[2:]]:
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert any(found.values())


def test_clips_of_another_length_are_refused_before_training(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    (folder / "toy.yaml").write_text(TOY)
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    done = actloc(folder, "train", "toy.yaml", "features.clip_frames=6", "features.stride_frames=6")
    assert done.returncode == 2
    assert "clip_frames: found 6 with frame_interval 1, expected a multiple of 4" in " ".join(done.stderr.split())
    done = actloc(folder, "train", "toy.yaml", "features.encoder.crop=48")
    assert done.returncode == 2
    assert "crop: found 48, expected a multiple of 64," in " ".join(done.stderr.split())
